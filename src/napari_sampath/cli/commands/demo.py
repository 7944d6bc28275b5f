"""`sampath demo`: open napari with the docks and a sample image, in a process of its own."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path

from ...errors import SampathError
from ..output import Output
from ..verb import Verb, add_model

_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


class NoWindowError(SampathError, ImportError):
    """The packages that a window needs are not installed."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath demo`."""
    parser.add_argument(
        "image", nargs="?", type=Path, metavar="IMAGE", help="image to open instead of the sample"
    )
    add_model(parser, precision=False)


def run(args: argparse.Namespace, output: Output) -> int:
    """Start the demo and pass its exit code on."""
    if _missing("napari") or all(_missing(name) for name in _BINDINGS):
        raise NoWindowError(
            "napari with a Qt binding is not installed, so there is no window; run: "
            "pip install 'napari-sampath[gui]'."
        )
    # The demo's own arguments have the names of ours.
    given = {name: getattr(args, name) for name in ("image", "model", "weights")}
    words = [f"--{name}={value}" for name, value in given.items() if value is not None]
    command = [sys.executable, "-m", "napari_sampath.widgets.demo", *words]
    # The docks are imported there and not here: nothing of the command line depends on Qt.
    code = subprocess.run(command, check=False).returncode
    return code if code >= 0 else 128 - code  # as a shell tells of a process that a signal ended


def _missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


VERB = Verb(
    "open napari with the docks and a sample image",
    "sampath demo",
    arguments,
    run,
)
