"""A plane of a Zarr array, read chunk by chunk."""

from __future__ import annotations

import itertools
import os
import re
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import refuse
from .codecs import DECODE_ERRORS
from .metadata import ArrayInfo

if TYPE_CHECKING:
    import numpy.typing as npt

_NUMBER = re.compile(r"0|[1-9]\d{0,8}")
_ABSENT = 2**64 - 1
"""Position and length of a chunk that a shard does not contain."""
_MAX_VALUE = 2**31 - 1
_CACHE_BYTES = 2**26
"""Size of the decoded chunks that are kept, because neighbouring objects lie in the same chunks."""

Index = tuple[int, ...]


class ZarrMap:
    """A map (H, W) of whole numbers from 0, whose chunks are read on access.

    Only windows of two slices without steps can be read. Of axes other than `rows` and `cols`, the first plane is read.

    Args:
        info: Layout of the array.
        rows: Axis of the rows.
        cols: Axis of the columns.
    """

    def __init__(self, info: ArrayInfo, rows: int, cols: int) -> None:
        self.info = info
        self.shape = info.shape[rows], info.shape[cols]
        self.dtype = info.dtype
        self._axes = rows, cols
        self._chunk = info.chunks[rows], info.chunks[cols]
        self._files: dict[Index, Path] | None = None
        self._lock = threading.Lock()
        self._recent: OrderedDict[tuple[int, int], npt.NDArray[Any]] = OrderedDict()
        self._last_index: tuple[Path, npt.NDArray[np.uint64]] | None = None

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        rows, cols = key if isinstance(key, tuple) else (key, slice(None))
        r0, r1, row_step = rows.indices(self.shape[0])
        c0, c1, col_step = cols.indices(self.shape[1])
        if (row_step, col_step) != (1, 1):
            raise IndexError("only windows without steps can be read")
        result = np.full((max(0, r1 - r0), max(0, c1 - c0)), self.info.fill, self.dtype)
        if not result.size:
            return result
        height, width = self._chunk
        wanted = range(r0 // height, (r1 - 1) // height + 1), range(c0 // width, (c1 - 1) // width + 1)
        for row, col in self._stored(*wanted):
            values = self._decode(row, col)
            if values is None:
                continue
            top, left = max(r0, row * height), max(c0, col * width)
            part = values[top - row * height : r1 - row * height, left - col * width : c1 - col * width]
            result[top - r0 : top - r0 + part.shape[0], left - c0 : left - c0 + part.shape[1]] = part
        return result

    def filled_boxes(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield windows (r0, c0, r1, c1) that contain all pixels other than 0."""
        grid = [range(-(-side // chunk)) for side, chunk in zip(self.shape, self._chunk, strict=True)]
        cells = itertools.product(*grid) if self.info.fill else self._stored(grid[0], grid[1])
        height, width = self._chunk
        for row, col in cells:
            r0, c0 = row * height, col * width
            yield r0, c0, min(r0 + height, self.shape[0]), min(c0 + width, self.shape[1])

    def _stored(self, rows: range, cols: range) -> Iterator[tuple[int, int]]:
        """Yield the stored chunks of a window of the grid, in order."""
        files = self._list_files()
        shards = self.info.shards
        step = (shards.chunks[self._axes[0]], shards.chunks[self._axes[1]]) if shards else (1, 1)
        if len(rows) * len(cols) <= len(files) * step[0] * step[1]:
            for row, col in itertools.product(rows, cols):
                if self._file_index(row, col)[0] in files:
                    yield row, col
            return
        for index in sorted(files):
            if any(number for axis, number in enumerate(index) if axis not in self._axes):
                continue
            top, left = index[self._axes[0]] * step[0], index[self._axes[1]] * step[1]
            for row, col in itertools.product(range(top, top + step[0]), range(left, left + step[1])):
                if row in rows and col in cols:
                    yield row, col

    def _file_index(self, row: int, col: int) -> tuple[Index, Index]:
        """Return the index of the file of a chunk, and the position of the chunk in it."""
        index = [0] * len(self.info.shape)
        index[self._axes[0]], index[self._axes[1]] = row, col
        shards = self.info.shards
        counts = shards.chunks if shards else (1,) * len(index)
        pairs = [divmod(number, count) for number, count in zip(index, counts, strict=True)]
        return tuple(file for file, _ in pairs), tuple(place for _, place in pairs)

    def _list_files(self) -> dict[Index, Path]:
        """List the files of chunks by index."""
        with self._lock:
            if self._files is None:
                self._files = dict(self._walk())
            return self._files

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
                    yield tuple(map(int, numbers)), self._regular(entry)
            return
        levels: list[tuple[Index, Path]] = [((), info.folder / info.prefix)]
        for depth in range(count):
            deeper: list[tuple[Index, Path]] = []
            for index, folder in levels:
                for entry in _entries(folder):
                    if not _NUMBER.fullmatch(entry.name):
                        continue
                    if depth == count - 1:
                        yield (*index, int(entry.name)), self._regular(entry)
                    elif entry.is_symlink():
                        refuse(Path(entry.path), "is a link", "copy the folder that it refers to")
                    elif entry.is_dir(follow_symlinks=False):
                        deeper.append(((*index, int(entry.name)), Path(entry.path)))
            levels = deeper

    def _regular(self, entry: os.DirEntry[str]) -> Path:
        if not entry.is_file(follow_symlinks=False):
            refuse(Path(entry.path), "is not a regular file", "copy or export the folder again")
        return Path(entry.path)

    def _decode(self, row: int, col: int) -> npt.NDArray[Any] | None:
        """Return the values of a chunk (h, w); None if it is not stored."""
        with self._lock:
            if (row, col) in self._recent:
                self._recent.move_to_end((row, col))
                return self._recent[row, col]
        file, place = self._file_index(row, col)
        path = self._list_files().get(file)
        if path is None:
            return None
        try:
            data = self._read_chunk(path, place)
            if data is None:
                return None
            values = self.info.codecs.decode(data, self.info.chunks)
        except DECODE_ERRORS as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            refuse(path, f"is damaged or cannot be read ({reason})", "copy or export the folder again")
        row_axis, col_axis = self._axes
        first = tuple(slice(None) if axis in self._axes else 0 for axis in range(values.ndim))
        plane = values[first] if row_axis < col_axis else values[first].T
        lowest, highest = (int(plane.min()), int(plane.max())) if plane.dtype.kind != "b" else (0, 1)
        if lowest < 0 or highest > _MAX_VALUE:
            value = lowest if lowest < 0 else highest
            refuse(path, f"contains {value}", f"give values from 0 to {_MAX_VALUE}")
        with self._lock:
            self._recent[row, col] = plane
            while len(self._recent) > max(1, _CACHE_BYTES // plane.nbytes):
                self._recent.popitem(last=False)
        return plane

    def _read_chunk(self, path: Path, place: Index) -> bytes | None:
        info, shards = self.info, self.info.shards
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ValueError("it is not a regular file")
            limit = info.codecs.encoded_limit(info.chunks)
            start, size = 0, status.st_size
            if shards is not None:
                start, size = map(int, self._shard_index(path, stream, size)[place])
                if start == size == _ABSENT:
                    return None
                if start + size > status.st_size:
                    raise ValueError("a chunk lies beyond the end of the file")
            if size > limit:
                raise ValueError(f"{size} bytes are too many for a chunk of shape {info.chunks}")
            stream.seek(start)
            return stream.read(size)

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


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        refuse(folder, f"cannot be read ({error.strerror})", "check its permissions")
