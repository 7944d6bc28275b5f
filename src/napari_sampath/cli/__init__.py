"""Command line interface, `sampath SUBCOMMAND`.

Exit codes: 0 success, 1 failure (explained by one sentence on stderr), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config import overriding, own_log_file
from ..errors import SampathError, printable
from ..files.error_log import record_error
from .commands import (
    dataset,
    encode,
    evaluate,
    everything,
    export_import,
    measure,
    models,
    project,
    prompt,
    segmentation,
    similar,
    slide,
    text,
    training,
)
from .commands.machine import bench, cache, demo, doctor, serve
from .late_import import put_off
from .output import Output
from .subcommand import Subcommand, add_common

if TYPE_CHECKING:
    from types import TracebackType

SUBCOMMANDS: dict[str, Subcommand] = {
    "demo": demo.SUBCOMMAND,
    "models": models.SUBCOMMAND,
    "encode": encode.SUBCOMMAND,
    "cache": cache.SUBCOMMAND,
    "prompt": prompt.SUBCOMMAND,
    "segment": segmentation.SUBCOMMAND,
    "everything": everything.SUBCOMMAND,
    "similar": similar.SUBCOMMAND,
    "text": text.SUBCOMMAND,
    "slide": slide.SUBCOMMAND,
    "project": project.SUBCOMMAND,
    "dataset": dataset.SUBCOMMAND,
    "train": training.TRAIN,
    "evaluate": evaluate.SUBCOMMAND,
    "tune": training.TUNE,
    "measure": measure.SUBCOMMAND,
    "export": export_import.EXPORT,
    "import": export_import.IMPORT,
    "figure": project.FIGURE,
    "serve": serve.SUBCOMMAND,
    "bench": bench.SUBCOMMAND,
    "doctor": doctor.SUBCOMMAND,
}

_COORDINATES = re.compile(r"-[\d.]+(,.*)")
"""Pattern of comma-separated numbers of which the first is negative."""

_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""Exit codes that a shell reports for programs terminated by SIGINT and by SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: Command line arguments after `sampath`; None uses `sys.argv`.

    Returns:
        The exit code.
    """
    debug = bool(os.environ.get("SAMPATH_DEBUG"))
    if argv is None:
        argv = sys.argv[1:]
        _configure_process(debug)
        if "demo" not in argv:  # napari may load other plugins
            put_off("segment_anything")
    argv = _join_negative(argv)
    try:
        args = build_parser(argv).parse_args(argv)
    except SystemExit as stop:  # argparse has printed its error or the help
        return int(stop.code or 0)
    output = Output(as_json=args.json, quiet=args.quiet)
    try:
        with overriding(cache_dir=args.cache, device=args.device):
            return SUBCOMMANDS[args.subcommand].run(args, output) or 0
    except KeyboardInterrupt:
        sys.stderr.write("\nsampath: interrupted.\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout is gone; redirect stdout, so that Python can close it without another error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (SampathError, OSError, MemoryError) as error:
        if debug:
            raise
        sys.stderr.write(f"sampath: {_sentence(error)}\n")
        return 1


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Build the argument parser.

    Args:
        argv: Arguments to parse. Only subcommands that occur in `argv` declare their own arguments, because some import
            modules that take seconds to load.
    """
    parser = _Parser(
        prog="sampath",
        description="Segment pathology images with prompts and trained heads.",
        epilog="Run 'sampath SUBCOMMAND --help' for the arguments and an example of a subcommand.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    add_common(parser, None)
    subcommands = parser.add_subparsers(
        dest="subcommand", metavar="SUBCOMMAND", required=True, title="subcommands"
    )
    for name, subcommand in SUBCOMMANDS.items():
        subparser = subcommands.add_parser(
            name,
            help=subcommand.summary,
            description=subcommand.summary[0].upper() + subcommand.summary[1:] + ".",
            epilog=f"example:\n  {subcommand.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_common(subparser, argparse.SUPPRESS)
        if name in argv:
            subcommand.arguments(subparser)
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that refuses empty paths, which would mean the working directory."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.register("type", Path, _path)


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the path is empty; give a file or folder ('.' for this folder)")
    return Path(text)


class _Version(argparse.Action):
    """Print the version; argparse's own action needs it in advance, and finding it takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print the version and exit."""
        from .. import __version__

        sys.stdout.write(f"napari-sampath {__version__}\n")
        parser.exit()


def _join_negative(argv: Sequence[str]) -> list[str]:
    """Rewrite `--point -5,3` as `--point=-5,3`, because argparse mistakes `-5,3` for a flag."""
    joined: list[str] = []
    for word in argv:
        if _COORDINATES.fullmatch(word) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _sentence(error: SampathError | OSError | MemoryError) -> str:
    """Format an error as one line."""
    if isinstance(error, SampathError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "There is not enough memory; use a smaller image or close other programs."
    name = f"'{error.filename}': " if error.filename else ""
    return printable(f"{name}{error.strerror or error}; check the path and its permissions.")


def _configure_process(debug: bool) -> None:
    """Configure garbage collection, logging, warnings and tracebacks of a process that runs only this command."""
    # Imports create a million objects; with the default thresholds, collection takes a seventh of the start-up time.
    gc.set_threshold(100_000, 20, 20)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("sampath: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if debug else logging.ERROR, handlers=[handler])
    logging.getLogger("napari_sampath").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        # Its messages on damaged files are not meant for users, who get one sentence about them.
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)
        # If a chunk of a Zarr array cannot be written, it lists all others that were on the way, when Python ends.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        sys.excepthook = _report_bug


class _Formatter(logging.Formatter):
    """Escape the control characters of names in log messages."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
        return printable(super().format(record))


def _report_bug(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Report an unexpected exception in one sentence; Python then exits with 1."""
    message = printable(" ".join(f"{kind.__name__}: {error}".split()))
    place = record_error("running a command", error.with_traceback(traceback), own_log_file())
    sys.stderr.write(f"sampath: Internal error ({message}); saved data is unaffected. {place}\n")
