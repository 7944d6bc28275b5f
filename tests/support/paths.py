"""Folders of the tests and the repository, and a virtual display for programs that tests start."""

from __future__ import annotations

import shutil
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
"""Repository, or folder of an unpacked source distribution."""


def in_own_display(*command: str) -> list[str]:
    """Return a command that runs in its own virtual display if Xvfb is installed."""
    if shutil.which("xvfb-run") is None:
        return list(command)
    return ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24", *command]
