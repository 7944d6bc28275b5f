"""`sampath project`: create, change, check and share projects."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...output import Output
from ...subcommand import Subcommand, add_common
from .actions import ACTIONS
from .figure import FIGURE as FIGURE


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath project`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, title="actions")
    for name, action in ACTIONS.items():
        added = actions.add_parser(
            name, help=action.summary, description=action.summary[0].upper() + action.summary[1:] + "."
        )
        added.add_argument("project", type=Path, metavar="PROJECT", help="folder of the project")
        action.arguments(added)
        add_common(added, argparse.SUPPRESS)


def run(args: argparse.Namespace, output: Output) -> int | None:
    """Run an action."""
    return ACTIONS[args.action].run(args, output)


SUBCOMMAND = Subcommand(
    "create, change, check and share projects: images, classes, training set",
    "sampath project add my-glands/ slides/*.svs",
    arguments,
    run,
)
