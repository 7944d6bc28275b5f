"""What one operation changed, kept so small that hundreds fit in memory: undo and redo write it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..arrays import BoolArray, ClassInfo, IntArray, UInt8Array
from . import runs
from .annotation import Annotation, Box, union

_RECORD_BYTES = 600
"""About what two annotation records take in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """Instance and class ids of N pixels as run lengths."""

    instances: IntArray
    classes: UInt8Array
    lengths: runs.Runs

    @classmethod
    def of(cls, instances: IntArray, classes: UInt8Array) -> Values:
        """Pack (N,) instance ids and their (N,) class ids."""
        # One run has one instance and one class, so both are packed into one number to compare.
        ids, lengths = runs.values_to_runs(instances.astype(np.int64) * 256 + classes)
        return cls((ids // 256).astype(np.int32), (ids % 256).astype(np.uint8), lengths)

    def unpack(self) -> tuple[npt.NDArray[np.int32], UInt8Array]:
        """Return (N,) int32 instance ids and (N,) uint8 class ids."""
        return (
            np.repeat(self.instances, self.lengths).astype(np.int32),
            np.repeat(self.classes, self.lengths),
        )

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.instances.nbytes + self.classes.nbytes + self.lengths.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """The pixels that changed inside one box, before and after."""

    box: Box
    changed: runs.Runs
    """Which pixels of the box changed, as run lengths row by row."""
    before: Values
    after: Values

    @classmethod
    def of(cls, box: Box, changed: BoolArray, before: Values, after: Values) -> Region:
        """Pack a box whose `changed` (h, w) pixels had and have these values, row by row."""
        return cls(box, runs.encode(changed), before, after)

    def write(self, values: Values, class_map: UInt8Array, instance_map: npt.NDArray[np.int32]) -> None:
        """Set the changed pixels of both maps to `before` or `after`."""
        r0, c0, r1, c1 = self.box
        changed = runs.decode(self.changed, (r1 - r0, c1 - c0))
        instances, classes = values.unpack()
        instance_map[r0:r1, c0:c1][changed] = instances
        class_map[r0:r1, c0:c1][changed] = classes

    @property
    def nbytes(self) -> int:
        """Size in memory."""
        return self.changed.nbytes + self.before.nbytes + self.after.nbytes


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """Everything one operation changed."""

    regions: tuple[Region, ...] = ()
    """Written in this order, taken back in reverse: regions may overlap."""
    records: Mapping[int, tuple[Annotation | None, Annotation | None]] | None = None
    """Annotation id -> record before and after; None where there is none."""
    classes: tuple[tuple[ClassInfo, ...], tuple[ClassInfo, ...]] | None = None
    """Class list before and after, if it changed."""

    @property
    def empty(self) -> bool:
        """True if nothing changed."""
        return not self.regions and not self.records and self.classes is None

    @property
    def box(self) -> Box | None:
        """Smallest box around all pixels that changed; None if none did."""
        box: Box | None = None
        for region in self.regions:
            box = union(box, region.box)
        return box

    @property
    def nbytes(self) -> int:
        """Size in memory, about."""
        return sum(region.nbytes for region in self.regions) + _RECORD_BYTES * len(self.records or ())
