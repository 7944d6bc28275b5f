"""`sampath cache`: what the store of features holds on disk, and keeping it in order."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ...config import load_config
from ...errors import SampathError
from ..output import Output, count
from ..verb import Verb

if TYPE_CHECKING:
    from ...store import DiskTier


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath cache`."""
    parser.add_argument(
        "action",
        choices=list(_ACTIONS),
        help="info: what is there; clear: delete it; verify: read everything and delete what is damaged",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Do one of the three."""
    from ...store import Store

    disk = Store.from_config(load_config()).disk
    if disk is None:
        raise SampathError("There is no feature cache on disk: cache_limit_bytes is 0; give a limit above 0.")
    _ACTIONS[args.action](disk, output)


def _info(disk: DiskTier, output: Output) -> None:
    held = disk.info()
    output.result(
        {
            "folder": held.place,
            "tiles": held.entries,
            "bytes": held.size_bytes,
            "limit_bytes": held.limit_bytes,
        },
        f"{count(held.entries, 'tile')}, {_megabytes(held.size_bytes)} of {_megabytes(held.limit_bytes)}, "
        f"in {held.place}",
    )


def _clear(disk: DiskTier, output: Output) -> None:
    size_bytes, removed = disk.info().size_bytes, disk.clear()
    output.result(
        {"folder": str(disk.folder), "tiles": removed, "bytes": size_bytes},
        f"Deleted {count(removed, 'tile')} ({_megabytes(size_bytes)}) from {disk.folder}.",
    )


def _verify(disk: DiskTier, output: Output) -> None:
    outcome = output.run(disk.verify_job())
    output.result(
        {"folder": str(disk.folder), "tiles": outcome.checked, "dropped": outcome.dropped},
        f"Read {count(outcome.checked, 'tile')} in {disk.folder}; {outcome.dropped} damaged and deleted.",
    )


_ACTIONS = {"info": _info, "clear": _clear, "verify": _verify}


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


VERB = Verb(
    "show, clear or verify the features kept on disk",
    "sampath cache info",
    arguments,
    run,
)
