"""Array interface of label maps that are stored in tiles."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import IntArray
from ...rasters import check_pixels
from .masks import Box
from .tiles import TILE_PX


class MapView(np.lib.mixins.NDArrayOperatorsMixin, ABC):
    """Array interface of a label map for numpy and napari.

    Indexing reads only the requested part. Other operations convert the whole map to an array, which raises
    `ImageError` if the map is too large for memory.
    """

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    ndim = 2

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    @abstractmethod
    def window(self, box: Box) -> npt.NDArray[Any]:
        """Return a copy of the pixels of a box (r0, c0, r1, c1), which must lie inside the map."""

    @abstractmethod
    def read(self, box: Box, step: int = 1) -> npt.NDArray[Any]:
        """Return the pixels of a box at a step of 1, 2, 4 ... pixels."""

    @abstractmethod
    def filled_boxes(self) -> Iterator[Box]:
        """Yield boxes that together contain all non-zero pixels."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        box, index = normalize(key, self.shape)
        return self._pick(*index) if box is None else self.window(box)[index]

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        check_pixels(*self.shape, "the label map")
        whole = self.window((0, 0, *self.shape))
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        dense = [np.asarray(value) if isinstance(value, MapView) else value for value in inputs]
        return getattr(ufunc, method)(*dense, **options)

    def copy(self) -> npt.NDArray[Any]:
        """Return all pixels as an array."""
        return np.asarray(self)

    def astype(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """Return all pixels as an array of another type."""
        return np.asarray(self).astype(dtype)

    def written(self) -> bool:
        """Return whether any pixel may be non-zero, without reading pixels."""
        return next(iter(self.filled_boxes()), None) is not None

    def any(self) -> bool:
        """Return whether any pixel is non-zero."""
        return any(self.window(box).any() for box in self.filled_boxes())

    def sum(self) -> int:
        """Return the sum of all pixels."""
        return sum(int(self.window(box).sum(dtype=np.int64)) for box in self.filled_boxes())

    def max(self) -> int:
        """Return the largest value."""
        return max((int(self.window(box).max()) for box in self.filled_boxes()), default=0)

    def _pick(self, rows: IntArray, cols: IntArray) -> npt.NDArray[Any]:
        values = np.zeros(rows.shape, dtype=self.dtype)
        for (row, col), inside in by_tile(rows, cols):
            box = self.tile_box(row, col)
            values[inside] = self.window(box)[rows[inside] - box[0], cols[inside] - box[1]]
        return values

    def tile_box(self, row: int, col: int) -> Box:
        """Return the box of a tile, given its position in the grid of tiles."""
        top, left = row * TILE_PX, col * TILE_PX
        return top, left, min(top + TILE_PX, self.shape[0]), min(left + TILE_PX, self.shape[1])


def split_at_tiles(box: Box) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Split a box at tile borders; yield (tile, slices in the box, slices in the tile)."""
    r0, c0, r1, c1 = box
    if r1 <= r0 or c1 <= c0:
        return
    for row in range(r0 // TILE_PX, (r1 - 1) // TILE_PX + 1):
        top, bottom = max(r0, row * TILE_PX), min(r1, (row + 1) * TILE_PX)
        for col in range(c0 // TILE_PX, (c1 - 1) // TILE_PX + 1):
            left, right = max(c0, col * TILE_PX), min(c1, (col + 1) * TILE_PX)
            outer = slice(top - r0, bottom - r0), slice(left - c0, right - c0)
            y, x = row * TILE_PX, col * TILE_PX
            yield (row, col), outer, (slice(top - y, bottom - y), slice(left - x, right - x))


def by_tile(rows: IntArray, cols: IntArray) -> Iterator[tuple[tuple[int, int], npt.NDArray[np.bool_]]]:
    """Group pixels (N,) by tile; yield (tile, mask of its pixels)."""
    tiles = np.stack([rows // TILE_PX, cols // TILE_PX], axis=-1).reshape(-1, 2)
    for row, col in np.unique(tiles, axis=0).tolist():
        yield (row, col), (rows // TILE_PX == row) & (cols // TILE_PX == col)


def normalize(key: Any, shape: tuple[int, int]) -> tuple[Box | None, Any]:
    """Convert an index to (box, index in that box), or a fancy index to (None, (rows, cols))."""
    parts = key if isinstance(key, tuple) else (key,)
    if isinstance(key, MapView) or (isinstance(key, np.ndarray) and key.dtype == np.bool_):
        return None, np.nonzero(np.asarray(key))
    if not any(isinstance(part, np.ndarray) for part in parts) and Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts = (*parts[:place], *[slice(None)] * (3 - len(parts)), *parts[place + 1 :])
    parts = (*parts, *[slice(None)] * (2 - len(parts)))
    if len(parts) != 2:
        raise IndexError(f"a map has 2 axes, but the index {key} has {len(parts)}")
    if not all(isinstance(part, slice | int | np.integer) for part in parts):
        grids = [
            np.arange(*part.indices(side)) if isinstance(part, slice) else np.asarray(part)
            for part, side in zip(parts, shape, strict=True)
        ]
        if any(isinstance(part, slice) for part in parts):
            grids = np.ix_(*(np.atleast_1d(grid) for grid in grids))  # type: ignore[assignment]
        rows, cols = np.broadcast_arrays(*grids)
        return None, (np.where(rows < 0, rows + shape[0], rows), np.where(cols < 0, cols + shape[1], cols))
    spans: list[tuple[int, int]] = []
    inner: list[Any] = []
    for part, side in zip(parts, shape, strict=True):
        if isinstance(part, slice):
            start, stop, step = part.indices(side)
            indices = range(start, stop, step)
            low, high = (min(indices), max(indices) + 1) if indices else (start, start)
            spans.append((low, high))
            inner.append(slice(high - 1 - low if step < 0 else 0, None, step))
        else:
            index = int(part) + (side if part < 0 else 0)
            if not 0 <= index < side:
                raise IndexError(f"index {part} is not in 0..{side - 1}")
            spans.append((index, index + 1))
            inner.append(0)
    (r0, r1), (c0, c1) = spans
    return (r0, c0, r1, c1), tuple(inner)
