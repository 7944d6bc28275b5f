"""Where the tests and the repository lie, and a display of their own for programs that tests start."""

from __future__ import annotations

import shutil
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
ROOT = TESTS.parent
"""The repository, or the folder in which a source distribution was unpacked."""


def in_own_display(*command: str) -> list[str]:
    """Return the command that runs one in a virtual display of its own, where there is Xvfb."""
    if shutil.which("xvfb-run") is None:
        return list(command)
    return ["xvfb-run", "-a", "-s", "-screen 0 1280x1024x24", *command]
