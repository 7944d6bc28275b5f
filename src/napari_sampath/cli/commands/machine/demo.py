"""`sampath demo`: open napari with the SamPath panel and a sample image."""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from ....config import load_config
from ....errors import SampathError
from ...output import Output
from ...subcommand import Subcommand, add_model

_BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")


class NoWindowError(SampathError, ImportError):
    """napari or a Qt binding is not installed."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath demo`."""
    parser.add_argument(
        "image", nargs="?", type=Path, metavar="IMAGE", help="image to open instead of the sample"
    )
    add_model(parser, precision=False)


def run(args: argparse.Namespace, output: Output) -> int:
    """Open napari in a separate process, because the command line must not import Qt; return its exit code."""
    if _missing("napari") or all(_missing(name) for name in _BINDINGS):
        raise NoWindowError(
            'napari with a Qt binding is not installed; run: pip install "napari-sampath[gui]" "napari[pyqt6]".'
        )
    values = {name: getattr(args, name) for name in ("image", "model", "weights")}
    flags = [f"--{name}={value}" for name, value in values.items() if value is not None]
    config = load_config()
    environment = {
        "SAMPATH_CACHE": str(config.cache_dir),
        "SAMPATH_USER_DATA": str(config.data_dir),
        "SAMPATH_DEVICE": config.device,
    }
    command = [sys.executable, "-m", "napari_sampath.widgets.demo", *flags]
    code = subprocess.run(command, check=False, env=os.environ | environment).returncode
    return code if code >= 0 else 128 - code  # the exit code that a shell reports for a signal


def _missing(package: str) -> bool:
    return importlib.util.find_spec(package) is None


SUBCOMMAND = Subcommand(
    "open napari with the SamPath panel and a sample image", "sampath demo", arguments, run
)
