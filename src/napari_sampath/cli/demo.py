"""`sampath demo`: the docks on a real image, in a process of their own."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from ..errors import SampathError
from .output import Output
from .verb import Verb

_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


class NoWindowError(SampathError, ImportError):
    """The packages that a window needs are not installed."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath demo`."""
    parser.add_argument(
        "--headless", action="store_true", help="do the main job by itself, leave its results and quit"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="with --headless: where screenshots, labels and the report go (default: demo-output)",
    )


def run(args: argparse.Namespace, output: Output) -> int:
    """Start the demo and pass its exit code on."""
    if args.output is not None and not args.headless:
        output.note("--output is of use with --headless only.")
    if _missing("napari") or all(_missing(name) for name in _BINDINGS):
        raise NoWindowError(
            "napari with a Qt binding is not installed, so there is no window; run: "
            "pip install 'napari-sampath[gui]'."
        )
    command = [sys.executable, "-m", "napari_sampath.widgets.demo"]
    if args.headless:
        command += ["--headless", "--output", str(args.output or Path("demo-output"))]
    # The docks are imported there and not here: nothing of the command line depends on Qt.
    return subprocess.run(command, check=False).returncode


def _missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


VERB = Verb(
    "open napari with the docks on a sample image, or run the main job without a display",
    "sampath demo --headless --output demo-output",
    arguments,
    run,
)
