"""Write the chunks of a Zarr array to the disk, so that a power cut leaves none of them empty."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...files.atomic import sync_folder

_THREADS = 16


def chunk_files(array: Path, box: Sequence[int], level: int, chunk_px: int) -> Iterator[Path]:
    """Yield the files of the chunks of a level of a pyramid.

    Args:
        array: Folder of the level.
        box: (r0, c0, r1, c1) in pixels of level 0.
        level: The level; each has half the size of the one before.
        chunk_px: Side of a chunk in pixels of the level.
    """
    r0, c0, r1, c1 = box[0] >> level, box[1] >> level, -(-box[2] >> level), -(-box[3] >> level)
    for row in range(r0 // chunk_px, -(-r1 // chunk_px)):
        for col in range(c0 // chunk_px, -(-c1 // chunk_px)):
            yield array / "c" / str(row) / str(col)


def sync_files(files: Iterable[Path]) -> None:
    """Write files and their folders to the disk; missing files, as of chunks without values, are left out.

    One after the other, the 680 files of a block take 3 s; from several threads, the file system writes them together,
    in 0.1 s.

    Raises:
        OSError: If it fails.
    """
    files = list(files)
    folders = {folder for file in files for folder in (file.parent, file.parent.parent)}
    with ThreadPoolExecutor(_THREADS) as pool:
        for synced in (pool.map(_sync, files), pool.map(sync_folder, folders)):
            list(synced)


def end_writes() -> None:
    """Wait for the chunks that zarr was writing when one of them could not be written.

    Otherwise asyncio lists hundreds of them when Python ends, below the sentence that says what to do.
    """
    with contextlib.suppress(ImportError):
        from zarr.core.sync import sync

        sync(_others())


async def _others() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*tasks, return_exceptions=True)


def _sync(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), open(path, "rb+") as stream:
        os.fsync(stream.fileno())
