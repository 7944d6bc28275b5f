"""The changes of one operation, small enough to keep hundreds in memory for undo and redo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ... import run_lengths
from ...arrays import BoolArray, ClassInfo, IntArray
from ..masks.masks import Box, union
from ..masks.tiled_map import TiledMap
from .annotated_object import AnnotatedObject

_RECORD_BYTES = 600
"""Approximate memory of two object records."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """The values of N pixels as run lengths."""

    values: IntArray
    lengths: run_lengths.Runs

    @classmethod
    def of(cls, values: IntArray) -> Values:
        """Pack (N,) values."""
        return cls(*run_lengths.values_to_runs(values))

    @classmethod
    def constant(cls, value: int, count: int) -> Values:
        """Pack one value for all of `count` pixels."""
        return cls(np.array([value], dtype=np.int32), np.array([count], dtype=np.uint32))

    def unpack(self) -> IntArray:
        """Return the (N,) values."""
        return np.repeat(self.values, self.lengths)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.values.nbytes + self.lengths.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The pixels of one map that changed inside one box, before and after."""

    verified: bool
    """True for the map of verified pixels, False for the instance map."""
    box: Box
    changed: run_lengths.Runs
    """The changed pixels of the box, as run lengths row by row."""
    before: Values
    after: Values

    @classmethod
    def of(cls, verified: bool, box: Box, changed: BoolArray, before: Values, after: Values) -> Region:
        """Pack a box with its `changed` (h, w) pixels and their values before and after, row by row."""
        return cls(verified, box, run_lengths.encode(changed), before, after)

    def write(self, values: Values, target: TiledMap) -> None:
        """Set the changed pixels to `before` or `after`."""
        r0, c0, r1, c1 = self.box
        part = target.window(self.box)
        part[run_lengths.decode(self.changed, (r1 - r0, c1 - c0))] = values.unpack()
        target.write(self.box, part)

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.changed.nbytes + self.before.nbytes + self.after.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The changes of one operation."""

    regions: tuple[Region, ...] = ()
    """In the order of writing; undone in reverse, as regions may overlap."""
    records: Mapping[int, tuple[AnnotatedObject | None, AnnotatedObject | None]] | None = None
    """Object id -> record before and after; None if the object did not or does not exist."""
    classes: tuple[tuple[ClassInfo, ...], tuple[ClassInfo, ...]] | None = None
    """Class list before and after, if it changed."""

    @property
    def empty(self) -> bool:
        """True if nothing changed."""
        return not self.regions and not self.records and self.classes is None

    @property
    def box(self) -> Box | None:
        """Smallest box around all pixels whose instance or class changed; None if none did."""
        box: Box | None = None
        for region in self.regions:
            if not region.verified:
                box = union(box, region.box)
        for before, after in (self.records or {}).values():
            if before is not None and after is not None and before.class_id != after.class_id:
                box = union(box, after.box)
        return box

    @property
    def verified_box(self) -> Box | None:
        """Smallest box around all pixels whose verification may have changed; None if none did."""
        box: Box | None = None
        for region in self.regions:
            box = union(box, region.box)
        for before, after in (self.records or {}).values():
            if before is not None and after is not None and before.trust != after.trust:
                box = union(box, after.box)
        return box

    @property
    def nbytes(self) -> int:
        """Approximate size in memory."""
        return sum(region.nbytes for region in self.regions) + _RECORD_BYTES * len(self.records or ())
