"""`sampath cache`: show, clear or verify the feature store on disk."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ....config import load_config
from ....errors import SampathError
from ....files.messages import plural
from ...output import Output
from ...subcommand import Subcommand

if TYPE_CHECKING:
    from ....store import DiskTier


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath cache`."""
    parser.add_argument(
        "action",
        choices=list(_ACTIONS),
        help="info: show its size; clear: delete all entries; verify: read all entries and delete damaged ones",
    )


def run(args: argparse.Namespace, output: Output) -> None:
    """Show, clear or verify the feature store."""
    from ....store import Store

    disk = Store.from_config(load_config()).disk
    if disk is None:
        raise SampathError(
            "The feature cache is disabled because cache_limit_bytes is 0; set SAMPATH_CACHE_LIMIT_BYTES above 0."
        )
    _ACTIONS[args.action](disk, output)


def _info(disk: DiskTier, output: Output) -> None:
    info = disk.info()
    output.result(
        {
            "folder": info.place,
            "tiles": info.entries,
            "bytes": info.size_bytes,
            "limit_bytes": info.limit_bytes,
        },
        f"{plural(info.entries, 'tile')}, {_megabytes(info.size_bytes)} of {_megabytes(info.limit_bytes)}, "
        f"in {info.place}",
    )


def _clear(disk: DiskTier, output: Output) -> None:
    size_bytes, removed = disk.info().size_bytes, disk.clear()
    output.result(
        {"folder": str(disk.folder), "tiles": removed, "bytes": size_bytes},
        f"Deleted {plural(removed, 'tile')} ({_megabytes(size_bytes)}) from {disk.folder}.",
    )


def _verify(disk: DiskTier, output: Output) -> None:
    outcome = output.run(disk.verify_job())
    output.result(
        {"folder": str(disk.folder), "tiles": outcome.checked, "dropped": outcome.dropped},
        f"Checked {plural(outcome.checked, 'tile')} in {disk.folder}; "
        f"deleted {plural(outcome.dropped, 'damaged tile')}.",
    )


_ACTIONS = {"info": _info, "clear": _clear, "verify": _verify}


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


SUBCOMMAND = Subcommand(
    "show, clear or verify the features stored on disk", "sampath cache info", arguments, run
)
