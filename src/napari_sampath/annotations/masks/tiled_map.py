"""Label maps of any size, which use memory only for annotated areas."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ...jobs import releasing_gil
from .map_view import MapView, by_tile, normalize, split_at_tiles
from .masks import Box, union
from .tile_store import TileStore
from .tiles import (
    MAX_STEP,
    TILE_PX,
    Tile,
    closed,
    equal,
    opened,
    packed,
    pixels_of,
    same_pixels,
    size_of,
    summary_of,
)

MAX_OPEN = 24
"""Number of tiles of a large map that stay open for writing, 6 MiB of int32; see `TiledMap`."""
SMALL_MAP = 1024
"""Number of tiles of a map of 8,192 px; all of them stay open, because packing one takes as long as a brush stroke."""

_Key: TypeAlias = tuple[int, int]
Tiles: TypeAlias = Mapping[_Key, Tile]
"""Tiles that are not empty and not open, by their (row, col) in the grid of tiles."""


class TiledMap(MapView):
    """A label map (H, W) of square tiles, each of which is empty, uniform, packed or open for writing.

    Snapshots may be read in another thread; a map that is written belongs to one thread.

    Args:
        shape: Size (H, W).
        dtype: Data type of the values.
        max_open: Number of tiles that stay open for writing; if there are more, the least recently written are packed.
            By default `MAX_OPEN`, or all of a map of at most `SMALL_MAP` tiles.
        store: Keeps the packed tiles; by default all of them in memory.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        dtype: npt.DTypeLike,
        max_open: int | None = None,
        store: TileStore | None = None,
    ) -> None:
        self.shape = shape
        self.store = TileStore() if store is None else store
        is_small = -(-shape[0] // TILE_PX) * -(-shape[1] // TILE_PX) <= SMALL_MAP
        self._is_small = is_small
        self._max_open = max_open or (SMALL_MAP if is_small else MAX_OPEN)
        self.dtype = np.dtype(dtype)
        self._tiles: dict[_Key, Tile] = {}
        self._open: OrderedDict[_Key, None] = OrderedDict()
        self._shared: set[_Key] = set()
        """Open tiles that are shared with a snapshot."""

    @property
    def nbytes(self) -> int:
        """Size of the tiles in bytes, in memory and in the file of the store."""
        return sum(map(size_of, self._tiles.values()))

    def snapshot(self) -> TiledMap:
        """Return a copy that shares each tile until one of the maps writes to it."""
        copy = TiledMap(self.shape, self.dtype, self._max_open, self.store)
        copy._tiles, copy._open = self._tiles.copy(), self._open.copy()
        copy._shared, self._shared = set(self._open), set(self._open)
        return copy

    def become(self, other: TiledMap) -> None:
        """Take over the tiles of another map of the same size; do not use that map afterwards."""
        self._tiles, self._open, self._shared = other._tiles, other._open, other._shared
        self._max_open, self.store = other._max_open, other.store

    def pack_changes(self, start: TiledMap) -> tuple[Tiles, Tiles]:
        """Return the tiles that changed since a snapshot, as they were then and as they are now.

        The changed tiles of a large map are packed, and their summaries are computed, which takes about 2 ms a tile.
        """
        before: dict[_Key, Tile] = {}
        after: dict[_Key, Tile] = {}
        for key in releasing_gil(self._tiles.keys() | start._tiles.keys()):
            old, new = start._tiles.get(key, 0), self._tiles.get(key, 0)
            if same_pixels(old, new):
                continue
            new = closed(new, self.store)
            if not self._is_small:
                self._set(key, new)
                summary_of(new, MAX_STEP)
            for tiles, tile in ((before, closed(old, self.store)), (after, new)):
                if not equal(tile, 0):
                    tiles[key] = tile
        return before, after

    def exchange(self, old: Tiles, new: Tiles) -> None:
        """Replace tiles that `pack_changes` returned; tiles of `old` that are not in `new` become empty."""
        for key in [key for key in self._open if key in old or key in new]:
            del self._open[key]
            self._shared.discard(key)
        for key in old.keys() - new.keys():
            self._tiles.pop(key, None)
        self._tiles.update(new)

    def box_of(self, tiles: Iterable[_Key]) -> Box | None:
        """Return the smallest box (r0, c0, r1, c1) that contains tiles; None if there are none."""
        keys = list(tiles)
        if not keys:
            return None
        rows, cols = zip(*keys, strict=True)
        return (*self.tile_box(min(rows), min(cols))[:2], *self.tile_box(max(rows), max(cols))[2:])

    def filled_boxes(self) -> Iterator[Box]:
        """Yield the boxes of the tiles, row by row."""
        return (self.tile_box(*key) for key in sorted(self._tiles))

    def tiles_in(self, boxes: Iterable[Box]) -> Iterator[Box]:
        """Yield, for each tile with values that intersects the boxes, the bounding box of the intersections."""
        parts: dict[_Key, Box] = {}
        for box in boxes:
            for key in self._keys_in(box):
                r0, c0, r1, c1 = self.tile_box(*key)
                part = (max(r0, box[0]), max(c0, box[1]), min(r1, box[2]), min(c1, box[3]))
                parts[key] = union(parts.get(key), part) or part
        yield from parts.values()

    def window(self, box: Box) -> npt.NDArray[Any]:
        """Return a copy of the pixels of a box (r0, c0, r1, c1), which must lie inside the map."""
        r0, c0, r1, c1 = box
        values = np.zeros((r1 - r0, c1 - c0), dtype=self.dtype)
        for key, outer, inner in split_at_tiles(box):
            tile = self._tiles.get(key)
            if tile is not None:
                part = pixels_of(tile)
                values[outer] = part if isinstance(part, int) else part[inner]
        return values

    def read(self, box: Box, step: int = 1) -> npt.NDArray[Any]:
        """Return the pixels of a box at a step.

        A cell of step x step pixels is labelled if at least 1/8 of it is, so that fields of nuclei stay visible. It has
        the value of a large part of its labelled pixels; see `tiles.summaries`. Only tiles that have changed since the
        last call are unpacked.

        Args:
            box: (r0, c0, r1, c1) inside the map; each is a multiple of `step`, or r1 and c1 the edge of the map.
            step: A power of two, 1..256.

        Returns:
            (ceil((r1 - r0) / step), ceil((c1 - c0) / step)) values.

        Raises:
            ValueError: If the step or the box is not allowed.
        """
        if step == 1:
            return self.window(box)
        cells = cells_of(box, step, self.shape)
        result = np.zeros((cells[2] - cells[0], cells[3] - cells[1]), dtype=self.dtype)
        side = TILE_PX // step
        keys = self._keys_in(box)
        for row, col in releasing_gil(keys):
            value = summary_of(self._whole(row, col, step), step)
            top, left = row * side - cells[0], col * side - cells[1]
            rows, first_row = slice(max(top, 0), top + side), max(-top, 0)
            cols, first_col = slice(max(left, 0), left + side), max(-left, 0)
            target = result[rows, cols]
            if isinstance(value, int):
                target[:] = value
            else:
                height, width = target.shape
                target[:] = value[first_row : first_row + height, first_col : first_col + width]
        return result

    def uniform(self, box: Box) -> int | None:
        """Return the value of all pixels of a box inside one tile if it is known without reading them."""
        tile = self._tiles.get((box[0] // TILE_PX, box[1] // TILE_PX), 0)
        return tile if isinstance(tile, int) else None

    def runs(self, box: Box) -> Iterator[tuple[Box, int | None]]:
        """Divide a box inside one row of tiles where the value changes, as far as that is known without their pixels.

        Yields:
            Boxes with the value of all of their pixels, and boxes inside one tile with None.
        """
        r0, c0, r1, c1 = box
        start, last = c0, self.uniform((r0, c0, r1, c0 + 1))
        for left in range((c0 // TILE_PX + 1) * TILE_PX, c1, TILE_PX):
            value = self.uniform((r0, left, r1, left + 1))
            if value is None or value != last:
                yield (r0, start, r1, left), last
                start, last = left, value
        yield (r0, start, r1, c1), last

    def fill(self, box: Box, value: int) -> None:
        """Set all pixels of a box, which must lie inside the map, to one value."""
        for key, _, inner in split_at_tiles(box):
            if self._covers(key, inner):
                self._set(key, value)
            elif not equal(self._tiles.get(key, 0), value):
                self._own(key)[inner] = value

    def write(self, box: Box, values: npt.NDArray[Any]) -> None:
        """Set the pixels of a box (r0, c0, r1, c1), which must lie inside the map."""
        for key, outer, inner in split_at_tiles(box):
            part = values[outer]
            if key in self._tiles or part.any():
                self._own(key)[inner] = part

    def __setitem__(self, key: Any, value: Any) -> None:
        box, index = normalize(key, self.shape)
        if box is not None:
            part = self.window(box)
            part[index] = value
            self.write(box, part)
            return
        rows_at, cols_at = index
        values = np.broadcast_to(np.asarray(value, dtype=self.dtype), rows_at.shape)
        for (row, col), inside in by_tile(rows_at, cols_at):
            tile = self._own((row, col))
            tile[rows_at[inside] - row * TILE_PX, cols_at[inside] - col * TILE_PX] = values[inside]

    def _own(self, key: _Key) -> npt.NDArray[Any]:
        """Return an open tile that no snapshot shares."""
        tile = self._tiles.get(key, 0)
        if isinstance(tile, np.ndarray) and key not in self._shared:
            self._open.move_to_end(key)
            return tile
        self._shared.discard(key)
        values = self._tiles[key] = opened(tile, self.dtype)
        self._open[key] = None
        self._open.move_to_end(key)
        if len(self._open) > self._max_open:
            oldest, _ = self._open.popitem(last=False)
            self._set(oldest, packed(opened(self._tiles[oldest], self.dtype), self.store))
        return values

    def _set(self, key: _Key, tile: Tile) -> None:
        self._open.pop(key, None)
        self._shared.discard(key)
        if equal(tile, 0):
            self._tiles.pop(key, None)
        else:
            self._tiles[key] = tile

    def _covers(self, key: _Key, inner: tuple[slice, slice]) -> bool:
        """Return whether slices of a tile contain all of its pixels inside the map."""
        r0, c0, r1, c1 = self.tile_box(*key)
        rows, cols = inner
        return rows == slice(0, r1 - r0) and cols == slice(0, c1 - c0)

    def _whole(self, row: int, col: int, step: int) -> Tile:
        """Return a tile for summaries; cells that reach beyond the map repeat the values at its edge."""
        tile = self._tiles[row, col]
        r0, c0, r1, c1 = self.tile_box(row, col)
        if isinstance(tile, int) or not ((r1 - r0) % step or (c1 - c0) % step):
            return tile
        values = opened(tile, self.dtype)
        inside = values[: r1 - r0, : c1 - c0]
        missing = (0, TILE_PX - inside.shape[0]), (0, TILE_PX - inside.shape[1])
        return np.pad(inside, missing, mode="edge")

    def _keys_in(self, box: Box) -> Iterator[_Key]:
        """Yield the tiles with values that intersect a box, in any order."""
        r0, c0, r1, c1 = box
        if r1 <= r0 or c1 <= c0:
            return
        rows = range(r0 // TILE_PX, (r1 - 1) // TILE_PX + 1)
        cols = range(c0 // TILE_PX, (c1 - 1) // TILE_PX + 1)
        if len(rows) * len(cols) > len(self._tiles):
            yield from [key for key in self._tiles if key[0] in rows and key[1] in cols]
            return
        for row in rows:
            for col in cols:
                if (row, col) in self._tiles:
                    yield row, col


class LookupMap(MapView):
    """A read-only label map that maps the values of another map through a table.

    Args:
        source: Map with values 0..N - 1.
        table: (N,) new value for each value of the source.
    """

    def __init__(self, source: TiledMap, table: npt.NDArray[Any]) -> None:
        self.source = source
        self.table = table
        self.shape = source.shape
        self.dtype = table.dtype

    def window(self, box: Box) -> npt.NDArray[Any]:
        """Return the mapped values of a box (r0, c0, r1, c1)."""
        values: npt.NDArray[Any] = self.table[self.source.window(box)]
        return values

    def read(self, box: Box, step: int = 1) -> npt.NDArray[Any]:
        """Return the mapped values of a box at a step; see `TiledMap.read`."""
        values: npt.NDArray[Any] = self.table[self.source.read(box, step)]
        return values

    def filled_boxes(self) -> Iterator[Box]:
        """Yield the boxes of the source."""
        return self.source.filled_boxes()

    def snapshot(self, source: TiledMap) -> LookupMap:
        """Return a copy of this map that reads from a snapshot of its source."""
        return LookupMap(source, self.table.copy())


def cells_of(box: Box, step: int, hw: tuple[int, int]) -> Box:
    """Convert a box (r0, c0, r1, c1) in pixels of a map of size (H, W) to cells of step x step pixels.

    Raises:
        ValueError: As for `TiledMap.read`.
    """
    r0, c0, r1, c1 = box
    if step not in [2**k for k in range(TILE_PX.bit_length())]:
        raise ValueError(f"the step {step} is not a power of two from 1 to {TILE_PX}")
    ends = r1 % step and r1 != hw[0], c1 % step and c1 != hw[1]
    if r0 % step or c0 % step or any(ends) or not (0 <= r0 <= r1 <= hw[0] and 0 <= c0 <= c1 <= hw[1]):
        raise ValueError(f"the box {box} does not fit cells of {step} px of a map of {hw[1]} x {hw[0]} px")
    return r0 // step, c0 // step, -(-r1 // step), -(-c1 // step)
