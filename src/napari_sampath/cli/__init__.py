"""`sampath VERB`: the whole package without a window.

Exit codes: 0 done, 1 failed (one sentence on stderr says why), 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .. import __version__
from ..errors import SampathError
from .commands import (
    bench,
    cache,
    dataset,
    demo,
    encode,
    evaluate,
    everything,
    exchange,
    models,
    prompt,
    segment,
    training,
)
from .output import Output
from .verb import Verb

if TYPE_CHECKING:
    from types import TracebackType

logger = logging.getLogger(__name__)

VERBS: dict[str, Verb] = {
    "demo": demo.VERB,
    "models": models.VERB,
    "encode": encode.VERB,
    "cache": cache.VERB,
    "prompt": prompt.VERB,
    "segment": segment.VERB,
    "everything": everything.VERB,
    "dataset": dataset.VERB,
    "train": training.TRAIN,
    "evaluate": evaluate.VERB,
    "tune": training.TUNE,
    "export": exchange.EXPORT,
    "import": exchange.IMPORT,
    "bench": bench.VERB,
}

_COORDINATES = re.compile(r"-[\d.]+(,.*)")
"""Numbers with commas between, the first of them negative."""

_INTERRUPTED = 130
_BROKEN_PIPE = 141
"""Exit codes of a shell's own programs after SIGINT and SIGPIPE."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb.

    Args:
        argv: The words after `sampath`; those this process was started with if left out.

    Returns:
        The exit code.
    """
    debug = bool(os.environ.get("SAMPATH_DEBUG"))
    if argv is None:
        argv = sys.argv[1:]
        _speak_plainly(debug)
        # Imports make a million objects, and to search those for garbage took a seventh of the start.
        gc.set_threshold(100_000, 20, 20)
    argv = _join_negative(argv)
    try:
        args = build_parser(argv).parse_args(argv)
    except SystemExit as stop:  # argparse has said what is wrong, or has shown the help
        return int(stop.code or 0)
    output = Output(as_json=args.json, quiet=args.quiet)
    try:
        with _settings(SAMPATH_CACHE=args.cache, SAMPATH_DEVICE=args.device):
            code = VERBS[args.verb].run(args, output)
        return code or 0
    except KeyboardInterrupt:
        sys.stderr.write("\nsampath: interrupted.\n")
        return _INTERRUPTED
    except BrokenPipeError:
        # Who reads the output has seen enough; Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except (SampathError, OSError, MemoryError) as error:
        if debug:
            raise
        sys.stderr.write(f"sampath: {_sentence(error)}\n")
        return 1


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Build the parser.

    Args:
        argv: The words to be parsed. Only verbs among them get their own arguments, because some read
            theirs from modules that take seconds to import.
    """
    parser = argparse.ArgumentParser(
        prog="sampath",
        description="Segment pathology images by prompts and by trained heads, without a window.",
        epilog="'sampath VERB --help' shows an example of each verb.",
    )
    parser.add_argument("--version", action="version", version=f"napari-sampath {__version__}")
    _add_common(parser, None)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, title="verbs")
    for name, verb in VERBS.items():
        own = verbs.add_parser(
            name,
            help=verb.summary,
            description=verb.summary[0].upper() + verb.summary[1:] + ".",
            epilog=f"example:\n  {verb.example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_common(own, argparse.SUPPRESS)
        if name in argv:
            verb.arguments(own)
    return parser


def _join_negative(argv: Sequence[str]) -> list[str]:
    """Write `--point -5,3` as `--point=-5,3`, which argparse would else take for a flag `-5,3`."""
    joined: list[str] = []
    for word in argv:
        if _COORDINATES.fullmatch(word) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _add_common(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Declare what all verbs understand, before the verb or after it."""
    group = parser.add_argument_group("common to all verbs")
    switch = default or False
    group.add_argument("--json", action="store_true", default=switch, help="one JSON object on stdout")
    group.add_argument("--quiet", action="store_true", default=switch, help="no progress, no notes")
    group.add_argument("--device", default=default, metavar="NAME", help="auto, cpu, cuda, cuda:1, mps")
    group.add_argument("--cache", default=default, metavar="FOLDER", help="weights, features and journals")


@contextlib.contextmanager
def _settings(**flags: str | None) -> Iterator[None]:
    """Let the flags take the place of the environment, for this process and those it starts."""
    before = {name: os.environ.get(name) for name in flags}
    os.environ.update({name: value for name, value in flags.items() if value is not None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _sentence(error: SampathError | OSError | MemoryError) -> str:
    """Put an error into one line."""
    if isinstance(error, SampathError):
        return " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return "There is not enough memory; use a smaller image or close other programs."
    name = f"'{error.filename}': " if error.filename else ""
    return f"{name}{error.strerror or error}; check the path and its permissions."


def _speak_plainly(debug: bool) -> None:
    """Keep tracebacks, warnings and log records of libraries from who only wants the result."""
    logging.basicConfig(
        level=logging.DEBUG if debug else logging.ERROR, format="sampath: %(message)s", stream=sys.stderr
    )
    logging.getLogger("napari_sampath").setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        sys.excepthook = _unexpected


def _unexpected(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Say in one sentence that the program itself is at fault; Python then exits with 1."""
    what = " ".join(f"{kind.__name__}: {error}".split())
    sys.stderr.write(
        f"sampath: This should not have happened ({what}); "
        "nothing saved is lost: set SAMPATH_DEBUG=1 to see where, and please report it.\n"
    )
