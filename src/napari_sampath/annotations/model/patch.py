"""Changes made by one operation, stored compactly so that hundreds fit in memory for undo and redo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...arrays import BoolArray, ClassInfo, IntArray
from ...formats import run_lengths
from ..masks.masks import Box, union
from ..masks.tiled_map import TiledMap, Tiles
from ..masks.tiles import size_of
from .annotated_object import AnnotatedObject

_RECORD_BYTES = 600
"""Approximate memory of two object records."""
_TILE_BYTES = 150
"""Approximate memory of the two entries of a tile in a `TileChange`, without the tile."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Run-length encoded values of N pixels."""

    values: IntArray
    lengths: run_lengths.Runs

    @classmethod
    def of(cls, values: IntArray) -> Values:
        """Encode (N,) values."""
        return cls(*run_lengths.values_to_runs(values))

    @classmethod
    def constant(cls, value: int, count: int) -> Values:
        """Encode `count` pixels with the same value."""
        return cls(np.array([value], dtype=np.int32), np.array([count], dtype=np.uint32))

    def unpack(self) -> IntArray:
        """Return the (N,) values."""
        return np.repeat(self.values, self.lengths)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.values.nbytes + self.lengths.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Values of the changed pixels of one map inside one box, before and after the change."""

    verified: bool
    """True for the verified map, False for the instance map."""
    box: Box
    changed: run_lengths.Runs
    """Mask of the changed pixels in the box, run-length encoded row by row."""
    before: Values
    after: Values

    @classmethod
    def of(cls, verified: bool, box: Box, changed: BoolArray, before: Values, after: Values) -> Region:
        """Encode the mask `changed` (h, w) of a box, with the values of its pixels before and after, row by row."""
        return cls(verified, box, run_lengths.encode(changed), before, after)

    @classmethod
    def filled(cls, verified: bool, box: Box, before: int, after: int) -> Region:
        """Describe a change of all pixels of a box from one value to another."""
        count = (box[2] - box[0]) * (box[3] - box[1])
        changed = np.array([0, count], dtype=np.uint32)
        return cls(verified, box, changed, Values.constant(before, count), Values.constant(after, count))

    def write(self, values: Values, target: TiledMap) -> None:
        """Set the changed pixels of `target` to `values`, which is `before` or `after`."""
        r0, c0, r1, c1 = self.box
        if len(values.values) == 1 and len(self.changed) == 2 and not self.changed[0]:
            target.fill(self.box, int(values.values[0]))
            return
        part = target.window(self.box)
        part[run_lengths.decode(self.changed, (r1 - r0, c1 - c0))] = values.unpack()
        target.write(self.box, part)

    @property
    def nbytes(self) -> int:
        """Memory in bytes."""
        return self.changed.nbytes + self.before.nbytes + self.after.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class TileChange:
    """Tiles of one map that changed, before and after the change; quick to undo, however large the change is."""

    verified: bool
    """True for the verified map, False for the instance map."""
    box: Box
    """Smallest box that contains the tiles."""
    before: Tiles
    after: Tiles

    @property
    def nbytes(self) -> int:
        """Memory in bytes; that of the tiles is shared with the map as long as they do not change again."""
        tiles = [*self.before.values(), *self.after.values()]
        return sum(map(size_of, tiles)) + _TILE_BYTES * len(tiles)


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Changes made by one operation."""

    regions: tuple[Region, ...] = ()
    """Changed regions in the order of writing; undo restores them in reverse order, because they may overlap."""
    before: Mapping[int, AnnotatedObject | None] = field(default_factory=dict)
    """Object id -> record before the change; None if there was no object. Two maps instead of one of pairs, because
    Python's garbage collector stops the window for the longer, the more containers there are."""
    after: Mapping[int, AnnotatedObject | None] = field(default_factory=dict)
    """Object id -> record after the change, for the same ids."""
    classes: tuple[tuple[ClassInfo, ...], tuple[ClassInfo, ...]] | None = None
    """Class list before and after, if it changed."""
    tiles: tuple[TileChange, ...] = ()
    """Changed tiles, of an operation that was recorded by tiles instead of by regions."""

    @property
    def changes(self) -> tuple[Region | TileChange, ...]:
        """The changes of the maps."""
        return (*self.regions, *self.tiles)

    @property
    def empty(self) -> bool:
        """True if nothing changed."""
        return not self.changes and not self.before and self.classes is None

    @property
    def box(self) -> Box | None:
        """Smallest box that contains all pixels whose object or class changed; None if there are none."""
        box: Box | None = None
        for change in self.changes:
            if not change.verified:
                box = union(box, change.box)
        for before, after in self._replaced():
            if before.class_id != after.class_id:
                box = union(box, after.box)
        return box

    @property
    def verified_box(self) -> Box | None:
        """Smallest box that contains all pixels that may have become verified or unverified; None if there are none."""
        box: Box | None = None
        for change in self.changes:
            box = union(box, change.box)
        for before, after in self._replaced():
            if before.trust != after.trust:
                box = union(box, after.box)
        return box

    def _replaced(self) -> Iterator[tuple[AnnotatedObject, AnnotatedObject]]:
        """Yield the records before and after the change of each object that it neither adds nor removes."""
        for object_id, before in self.before.items():
            if before is not None and (after := self.after[object_id]) is not None:
                yield before, after

    @property
    def nbytes(self) -> int:
        """Approximate memory in bytes."""
        return sum(change.nbytes for change in self.changes) + _RECORD_BYTES * len(self.before)
