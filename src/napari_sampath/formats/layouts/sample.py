"""One exported image or patch with its labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from ...arrays import BoolArray, ClassInfo, IntArray, UInt8Array
from ..labels import Labels, renumber
from ..objects import Objects


@dataclass(frozen=True, eq=False)
class Sample:
    """An image or patch, at the exported scale."""

    name: str
    """Stem of its files, unique in the export."""
    split: str
    """"train", "val" or "test"."""
    slide: str
    """Slide or case."""
    source: str
    """Name of the image of the project."""
    origin_rc: tuple[int, int]
    """Row and column of its first pixel, in pixels of the image of the project."""
    image: UInt8Array
    """(H, W, 3) uint8 RGB."""
    class_map: UInt8Array
    """(H, W) class of each pixel, 0 for none."""
    instance_map: IntArray
    """(H, W) object numbers of the image; 0 for none, and for parts of objects that are too small to be exported."""
    verified: BoolArray
    """(H, W) True where a person has confirmed the labels."""
    classes: tuple[ClassInfo, ...]
    """The class list of the project."""
    mpp: float | None = None
    """Micrometres per pixel, if known."""

    @cached_property
    def objects(self) -> Objects:
        """The objects, numbered 1, 2, 3 ... in the order of their numbers."""
        return Objects.of(Labels(self.typed_map, self.numbered_map, self.classes))

    @cached_property
    def numbered_map(self) -> IntArray:
        """(H, W) int32, objects numbered 1, 2, 3 ..., 0 for none."""
        return renumber(self.instance_map, {})[0]

    @cached_property
    def typed_map(self) -> UInt8Array:
        """(H, W) uint8, class of the pixels that belong to an object; 0 elsewhere."""
        return np.where(self.instance_map > 0, self.class_map, 0).astype(np.uint8)

    @property
    def unknown(self) -> BoolArray:
        """(H, W) True where there is neither a class nor a person's confirmation."""
        unknown: BoolArray = (self.class_map == 0) & ~self.verified
        return unknown

    def with_class_numbers(self, numbers: dict[int, int]) -> Sample:
        """Return a copy with other class numbers."""
        table = np.zeros(256, dtype=np.uint8)
        for old, new in numbers.items():
            table[old] = new
        classes = tuple(replace(info, id=numbers[info.id]) for info in self.classes)
        return replace(self, class_map=table[self.class_map], classes=classes)


def consecutive(classes: tuple[ClassInfo, ...]) -> dict[int, int]:
    """Return class number -> number 1, 2, 3 ... in the order of the class numbers."""
    return {number: index for index, number in enumerate(sorted(info.id for info in classes), start=1)}
