"""Open the project that a command works on."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ...output import Output

if TYPE_CHECKING:
    from ....session.project.project import Project


def open_project(args: argparse.Namespace, output: Output) -> Project:
    """Open the project of the arguments and list the samples of earlier versions."""
    from ....session.project.checking import listing_job
    from ....session.project.project import Project

    project = Project(args.project)
    if project.missing:
        output.run(listing_job(project))
    return project
