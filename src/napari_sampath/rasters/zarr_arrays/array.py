"""Arrays of Zarr, read chunk by chunk."""

from __future__ import annotations

import itertools
import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import ImageError, refuse
from .chunk_files import ChunkFiles, Index
from .codecs import DECODE_ERRORS
from .metadata import ArrayInfo

if TYPE_CHECKING:
    import numpy.typing as npt

_MAX_VALUE = 2**31 - 1
_CACHE_BYTES = 2**26
"""Size of the decoded chunks that are kept, because neighbouring objects lie in the same chunks."""


class DamagedChunkError(ImageError):
    """A chunk that cannot be decoded, or is too large."""


class ZarrArray:
    """Some axes of an array, at index 0 of the other axes; chunks are read on access, also from several threads.

    Only windows of slices without steps can be read.

    Args:
        info: Layout of the array.
        axes: The axes of the result, in this order.
        cache_bytes: Size of the decoded chunks that are kept; at least one is kept.
    """

    def __init__(self, info: ArrayInfo, axes: tuple[int, ...], cache_bytes: int = _CACHE_BYTES) -> None:
        self.info = info
        self.shape = tuple(info.shape[axis] for axis in axes)
        self.ndim = len(axes)
        self.dtype = info.dtype
        self.chunk_shape = tuple(info.chunks[axis] for axis in axes)
        self._axes = axes
        self._files = ChunkFiles(info, axes)
        self._cache_bytes = cache_bytes
        self._lock = threading.Lock()
        self._recent: OrderedDict[Index, npt.NDArray[Any]] = OrderedDict()

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        keys = key if isinstance(key, tuple) else (key,)
        keys = (*keys, *[slice(None)] * (self.ndim - len(keys)))
        bounds = [part.indices(side) for part, side in zip(keys, self.shape, strict=True)]
        if any(step != 1 for _, _, step in bounds):
            raise IndexError("only windows without steps can be read")
        result = np.full([max(0, stop - start) for start, stop, _ in bounds], self.info.fill, self.dtype)
        if not result.size:
            return result
        wanted = [
            range(start // side, (stop - 1) // side + 1)
            for (start, stop, _), side in zip(bounds, self.chunk_shape, strict=True)
        ]
        for cell in self._files.cells(*wanted):
            values = self.read_chunk(cell)
            if values is None:
                continue
            source, target = [], []
            for number, side, (start, stop, _) in zip(cell, self.chunk_shape, bounds, strict=True):
                first, last = max(start, number * side), min(stop, (number + 1) * side)
                source.append(slice(first - number * side, last - number * side))
                target.append(slice(first - start, last - start))
            result[tuple(target)] = values[tuple(source)]
        return result

    def read_chunk(self, cell: Index) -> npt.NDArray[Any] | None:
        """Return the values of a chunk; None if it is not stored.

        Args:
            cell: Position of the chunk in the grid of chunks.

        Raises:
            DamagedChunkError: If it cannot be decoded.
            ImageError: If its file cannot be read.
        """
        with self._lock:
            if cell in self._recent:
                self._recent.move_to_end(cell)
                return self._recent[cell]
        path = self._files.path(cell)
        if path is None:
            return None
        try:
            data = self._files.read(path, cell)
        except OSError as error:
            refuse(path, f"cannot be read ({error.strerror or error})", "check the disk")
        except ValueError as error:
            raise _damaged(path, error) from error
        if data is None:
            return None
        try:
            values = self.info.codecs.decode(data, self.info.chunks)
        except DECODE_ERRORS as error:
            raise _damaged(path, error) from error
        kept = sorted(self._axes)
        values = values[tuple(slice(None) if axis in kept else 0 for axis in range(values.ndim))]
        values = values.transpose([kept.index(axis) for axis in self._axes])
        if values.size < math.prod(
            self.info.chunks
        ):  # Do not keep the whole chunk in memory for a part of it.
            values = values.copy()
        self._check(path, values)
        with self._lock:
            self._recent[cell] = values
            while len(self._recent) > max(1, self._cache_bytes // values.nbytes):
                self._recent.popitem(last=False)
        return values

    def _check(self, path: Path, values: npt.NDArray[Any]) -> None:
        """Check the values of a chunk."""


class ZarrMap(ZarrArray):
    """A map (H, W) of whole numbers from 0, whose chunks are read on access.

    Args:
        info: Layout of the array.
        rows: Axis of the rows.
        cols: Axis of the columns.
    """

    def __init__(self, info: ArrayInfo, rows: int, cols: int) -> None:
        super().__init__(info, (rows, cols))

    def filled_boxes(self) -> Iterator[tuple[int, int, int, int]]:
        """Yield windows (r0, c0, r1, c1) that contain all pixels other than 0."""
        height, width = self.chunk_shape
        grid = [range(-(-side // chunk)) for side, chunk in zip(self.shape, self.chunk_shape, strict=True)]
        for row, col in itertools.product(*grid) if self.info.fill else self._files.cells(*grid):
            r0, c0 = row * height, col * width
            yield r0, c0, min(r0 + height, self.shape[0]), min(c0 + width, self.shape[1])

    def _check(self, path: Path, values: npt.NDArray[Any]) -> None:
        lowest, highest = (int(values.min()), int(values.max())) if values.dtype.kind != "b" else (0, 1)
        if lowest < 0 or highest > _MAX_VALUE:
            value = lowest if lowest < 0 else highest
            refuse(path, f"contains {value}", f"give values from 0 to {_MAX_VALUE}")


def _damaged(path: Path, error: BaseException) -> DamagedChunkError:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return DamagedChunkError(
        f"'{path}' is damaged or cannot be read ({reason}); copy or export the folder again."
    )
