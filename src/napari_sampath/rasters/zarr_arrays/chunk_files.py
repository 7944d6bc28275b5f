"""The files of the chunks of an array: regular files inside its folder, of bounded size."""

from __future__ import annotations

import itertools
import math
import os
import re
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import refuse
from .metadata import ArrayInfo

if TYPE_CHECKING:
    import numpy.typing as npt

_NUMBER = re.compile(r"0|[1-9]\d{0,8}")
_ABSENT = 2**64 - 1
"""Position and length of a chunk that a shard does not contain."""
_PROBED = 256
"""Maximum number of chunks whose files are looked up one by one; for more, all files of the array are listed."""
_OPEN_FLAGS = (
    os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
)

Index = tuple[int, ...]


class ChunkFiles:
    """Finds and reads the encoded chunks along some axes of an array, at index 0 of the other axes.

    Args:
        info: Layout of the array.
        axes: The axes along which chunks are numbered; a cell has the number of a chunk along each, in this order.
    """

    def __init__(self, info: ArrayInfo, axes: tuple[int, ...]) -> None:
        self.info = info
        self._axes = axes
        self._listed: dict[Index, Path] | None = None
        self._checked: set[Path] = set()
        self._lock = threading.Lock()
        self._last_index: tuple[Path, npt.NDArray[np.uint64]] | None = None

    def cells(self, *wanted: range) -> Iterator[Index]:
        """Yield the cells of a window of the grid of chunks, in order; most chunks that are not stored are left out."""
        shards, count = self.info.shards, math.prod(map(len, wanted))
        if count <= _PROBED:
            yield from itertools.product(*wanted)
            return
        files = self._list_files()
        step = tuple(shards.chunks[axis] if shards else 1 for axis in self._axes)
        if count <= len(files) * math.prod(step):
            yield from (cell for cell in itertools.product(*wanted) if self._place(cell)[0] in files)
            return
        for index in sorted(files):
            if any(number for axis, number in enumerate(index) if axis not in self._axes):
                continue
            tops = [index[axis] * size for axis, size in zip(self._axes, step, strict=True)]
            inside = [range(top, top + size) for top, size in zip(tops, step, strict=True)]
            for cell in itertools.product(*inside):
                if all(number in numbers for number, numbers in zip(cell, wanted, strict=True)):
                    yield cell

    def path(self, cell: Index) -> Path | None:
        """Return the file of a chunk; None if it is not stored.

        Raises:
            ImageError: If it is a link, a folder or a device, or lies behind a link.
        """
        index, info = self._place(cell)[0], self.info
        if self._listed is not None:
            return self._listed.get(index)
        names = [*([info.prefix] if info.prefix else []), *map(str, index)]
        parts = names if info.separator == "/" else [info.separator.join(names)]
        path = info.folder
        for part in parts[:-1]:
            path /= part
            if path not in self._checked:
                mode = _mode(path)
                if mode is None:
                    return None
                if stat.S_ISLNK(mode):
                    refuse(path, "is a link", "copy the folder that it refers to")
                self._checked.add(path)
        path /= parts[-1]
        mode = _mode(path)
        if mode is not None and not stat.S_ISREG(mode):
            refuse(path, "is not a regular file", "copy or export the folder again")
        return path if mode is not None else None

    def read(self, path: Path, cell: Index) -> bytes | None:
        """Read an encoded chunk; None if a shard does not contain it.

        Raises:
            ValueError: If it is longer than a chunk may be, or a shard is damaged.
            OSError: If the file cannot be read.
        """
        info, shards = self.info, self.info.shards
        with open(os.open(path, _OPEN_FLAGS), "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is not a regular file")
            limit = info.codecs.encoded_limit(info.chunks)
            start, size = 0, status.st_size
            if shards is not None:
                place = self._shard_index(path, stream, size)[self._place(cell)[1]]
                start, size = map(int, place)
                if start == size == _ABSENT:
                    return None
                if start + size > status.st_size:
                    raise ValueError("a chunk lies beyond the end of the file")
            if size > limit:
                raise ValueError(f"{size} bytes are too many for a chunk of shape {info.chunks}")
            stream.seek(start)
            return stream.read(size)

    def _place(self, cell: Index) -> tuple[Index, Index]:
        """Return the index of the file of a chunk, and the position of the chunk in it."""
        index = [0] * len(self.info.shape)
        for axis, number in zip(self._axes, cell, strict=True):
            index[axis] = number
        shards = self.info.shards
        counts = shards.chunks if shards else (1,) * len(index)
        pairs = [divmod(number, count) for number, count in zip(index, counts, strict=True)]
        return tuple(file for file, _ in pairs), tuple(place for _, place in pairs)

    def _list_files(self) -> dict[Index, Path]:
        """List the files of chunks by index."""
        with self._lock:
            if self._listed is None:
                self._listed = dict(self._walk())
            return self._listed

    def _walk(self) -> Iterator[tuple[Index, Path]]:
        info, count = self.info, len(self.info.shape)
        if info.separator == ".":
            prefix = f"{info.prefix}." if info.prefix else ""
            for entry in _entries(info.folder):
                numbers = entry.name.removeprefix(prefix).split(".")
                if (
                    entry.name.startswith(prefix)
                    and len(numbers) == count
                    and all(map(_NUMBER.fullmatch, numbers))
                ):
                    yield tuple(map(int, numbers)), _regular(entry)
            return
        top = info.folder / info.prefix
        if top.is_symlink():
            refuse(top, "is a link", "copy the folder that it refers to")
        levels: list[tuple[Index, Path]] = [((), top)]
        for depth in range(count):
            deeper: list[tuple[Index, Path]] = []
            for index, folder in levels:
                for entry in _entries(folder):
                    if not _NUMBER.fullmatch(entry.name):
                        continue
                    if depth == count - 1:
                        yield (*index, int(entry.name)), _regular(entry)
                    elif entry.is_symlink():
                        refuse(Path(entry.path), "is a link", "copy the folder that it refers to")
                    elif entry.is_dir(follow_symlinks=False):
                        deeper.append(((*index, int(entry.name)), Path(entry.path)))
            levels = deeper

    def _shard_index(self, path: Path, stream: Any, size: int) -> npt.NDArray[np.uint64]:
        """Read the positions and lengths (..., 2) of the chunks of a shard."""
        with self._lock:
            if self._last_index is not None and self._last_index[0] == path:
                return self._last_index[1]
        shards = self.info.shards
        shape = (*shards.chunks, 2) if shards is not None else (2,)
        length = shards.index.encoded_size(shape) if shards is not None else None
        if shards is None or length is None or length > size:
            raise ValueError("it has no index of chunks")
        stream.seek(size - length if shards.at_end else 0)
        index: npt.NDArray[np.uint64] = shards.index.decode(stream.read(length), shape)
        with self._lock:
            self._last_index = path, index
        return index


def _mode(path: Path) -> int | None:
    try:
        return path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        refuse(path, f"cannot be read ({error.strerror})", "check its permissions")


def _regular(entry: os.DirEntry[str]) -> Path:
    if not entry.is_file(follow_symlinks=False):
        refuse(Path(entry.path), "is not a regular file", "copy or export the folder again")
    return Path(entry.path)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        refuse(folder, f"cannot be read ({error.strerror})", "check its permissions")
