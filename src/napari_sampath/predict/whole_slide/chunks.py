"""Small boxes of a large array on disk, read and written through a cache of its chunks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...formats.maps.slide_result import Box

_CACHED_BYTES = 2**28


class Chunks:
    """The numbers of objects in an array (H, W) on disk.

    Args:
        array: The array, with square chunks.
        limit_bytes: Size of the chunks that are kept in memory.
    """

    def __init__(self, array: Any, limit_bytes: int = _CACHED_BYTES) -> None:
        self._array = array
        self._side: int = array.chunks[0]
        self._limit = max(1, limit_bytes // (self._side**2 * array.dtype.itemsize))
        self._chunks: OrderedDict[tuple[int, int], npt.NDArray[np.uint32]] = OrderedDict()
        self._changed: set[tuple[int, int]] = set()

    def read(self, box: Box) -> npt.NDArray[np.uint32]:
        """Return a copy of the values in a box (r0, c0, r1, c1), which lies inside of the array."""
        r0, c0, r1, c1 = box
        values = np.empty((r1 - r0, c1 - c0), np.uint32)
        for _, chunk, in_chunk, in_box in self._parts(box):
            values[in_box] = chunk[in_chunk]
        return values

    def write(self, box: Box, values: npt.NDArray[np.uint32]) -> None:
        """Replace the values in a box."""
        for place, chunk, in_chunk, in_box in self._parts(box):
            chunk[in_chunk] = values[in_box]
            self._changed.add(place)

    def flush(self) -> None:
        """Write all changes to disk."""
        for place in list(self._changed):
            self._write(place, self._chunks[place])

    def _parts(
        self, box: Box
    ) -> Iterator[tuple[tuple[int, int], Any, tuple[slice, slice], tuple[slice, slice]]]:
        """Yield the place and content of each chunk in a box, and their common part in the chunk and in the box."""
        r0, c0, r1, c1 = box
        side = self._side
        for row in range(r0 // side, -(-r1 // side)):
            for col in range(c0 // side, -(-c1 // side)):
                top, left = row * side, col * side
                rows = slice(max(r0, top), min(r1, top + side))
                cols = slice(max(c0, left), min(c1, left + side))
                yield (
                    (row, col),
                    self._chunk((row, col)),
                    (_moved(rows, top), _moved(cols, left)),
                    (_moved(rows, r0), _moved(cols, c0)),
                )

    def _chunk(self, place: tuple[int, int]) -> npt.NDArray[np.uint32]:
        if place not in self._chunks:
            self._chunks[place] = np.array(self._array[self._slices(place)])
            if len(self._chunks) > self._limit:
                oldest, values = self._chunks.popitem(last=False)
                if oldest in self._changed:
                    self._write(oldest, values)
        self._chunks.move_to_end(place)
        return self._chunks[place]

    def _write(self, place: tuple[int, int], values: npt.NDArray[np.uint32]) -> None:
        self._array[self._slices(place)] = values
        self._changed.discard(place)

    def _slices(self, place: tuple[int, int]) -> tuple[slice, slice]:
        row, col = (index * self._side for index in place)
        return slice(row, row + self._side), slice(col, col + self._side)


def _moved(part: slice, start: int) -> slice:
    return slice(part.start - start, part.stop - start)
