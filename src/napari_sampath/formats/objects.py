"""Conversion between label maps and lists of objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ..arrays import BoolArray, IntArray, LocalMask, halves
from ..rasters import check_pixels
from ..tiling import step_for
from .labels import Box, Labels, MapLike, blocks

if TYPE_CHECKING:
    from ..arrays import ClassInfo


_BLOCK_PX = 1024
"""Side of the blocks in which overlaps are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledObject:
    """One object, or a connected component of class pixels without an object number."""

    number: int
    """Number in the instance map; 0 for a component without a number."""
    class_id: int
    """1..255."""
    mask: LocalMask
    details: Mapping[str, Any] = field(default_factory=dict)
    """Further JSON values: "score", "source", "model", "prompts", "created" ..."""


@dataclass(frozen=True, slots=True)
class MarkedPoint:
    """A pixel that marks an object without its outline."""

    class_id: int
    """1..255."""
    xy: tuple[float, float]
    """Position (x, y), where whole numbers are the centres of pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """The objects of one image; where they overlap, later ones are on top."""

    hw: tuple[int, int]
    """Size (H, W) of the image in pixels."""
    classes: tuple[ClassInfo, ...]
    items: tuple[LabelledObject, ...]
    notes: tuple[str, ...] = ()
    """Sentences for the user about what was read, skipped or converted."""
    ignored: tuple[LocalMask, ...] = ()
    """Areas that are neither object nor background."""
    points: tuple[MarkedPoint, ...] = ()
    """Prompts for a model, see `ReadOptions.points`."""

    @classmethod
    def of(cls, labels: Labels) -> Objects:
        """Convert label maps to objects.

        Each pair of object number and class becomes an object, followed by each 8-connected component of a class
        without object numbers. Maps of any size are read block by block; pixels without a class are skipped. The masks
        of very large objects have a step above 1, so that a bitmap has at most 16 MiB.

        Raises:
            ImageError: If the bounding box of the pixels without an object number does not fit in memory.
        """
        height, width = labels.instance_map.shape
        items = [*_instances(labels), *_regions(labels)]
        return cls((height, width), labels.classes, tuple(items), labels.notes)

    def to_labels(self) -> Labels:
        """Paint the objects into label maps of the whole image; later ones cover earlier ones.

        Raises:
            ImageError: If the image does not fit in memory.
        """
        check_pixels(*self.hw, "the label map")
        class_map = np.zeros(self.hw, dtype=np.uint8)
        instance_map = np.zeros(self.hw, dtype=np.int32)
        for obj in self.items:
            rows, cols = where = obj.mask.slices
            stop = min(rows.stop, self.hw[0]), min(cols.stop, self.hw[1])
            inside = obj.mask.window((rows.start, cols.start, *stop))
            class_map[where][inside] = obj.class_id
            instance_map[where][inside] = obj.number
        details = {obj.number: obj.details for obj in self.items if obj.number and obj.details}
        return Labels(class_map, instance_map, self.classes, details, self.notes)


def visible_areas(items: Sequence[LabelledObject]) -> IntArray:
    """Return the number of pixels (N,) of each of N objects that no later object covers."""
    in_block: dict[tuple[int, int], list[int]] = {}
    for index, obj in enumerate(items, start=1):
        rows, cols = obj.mask.slices
        for row in range(rows.start // _BLOCK_PX, (rows.stop - 1) // _BLOCK_PX + 1):
            for col in range(cols.start // _BLOCK_PX, (cols.stop - 1) // _BLOCK_PX + 1):
                in_block.setdefault((row, col), []).append(index)
    areas = np.zeros(len(items) + 1, dtype=np.int64)
    for (block_row, block_col), indices in in_block.items():
        top, left = block_row * _BLOCK_PX, block_col * _BLOCK_PX
        owner = np.zeros((_BLOCK_PX, _BLOCK_PX), dtype=np.int32)
        for position, index in enumerate(indices, start=1):
            mask = items[index - 1].mask
            rows, cols = mask.slices
            r0, c0 = max(rows.start, top), max(cols.start, left)
            r1, c1 = min(rows.stop, top + _BLOCK_PX), min(cols.stop, left + _BLOCK_PX)
            owner[r0 - top : r1 - top, c0 - left : c1 - left][mask.window((r0, c0, r1, c1))] = position
        areas[indices] += np.bincount(owner.ravel(), minlength=len(indices) + 1)[1:]
    return areas[1:]


def boxes_of(instance_map: MapLike) -> dict[int, Box]:
    """Return the bounding box (r0, c0, r1, c1) of every number in an instance map (H, W) of any size."""
    boxes: dict[int, Box] = {}
    for r0, c0, r1, c1 in blocks(instance_map):
        for number, (rows, cols) in _windows(np.asarray(instance_map[r0:r1, c0:c1])):
            box = (r0 + rows.start, c0 + cols.start, r0 + rows.stop, c0 + cols.stop)
            merged = boxes.get(number, box)
            boxes[number] = (*map(min, merged[:2], box[:2]), *map(max, merged[2:], box[2:]))
    return boxes


def _windows(numbers: IntArray) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield each number other than 0 in an array (h, w) with the slices of its bounding box."""
    highest = int(numbers.max(initial=0))
    if highest == 0:
        return
    values = None
    if highest > 4 * numbers.size:
        # find_objects allocates an entry for every number up to the highest one.
        values, inverse = np.unique(numbers, return_inverse=True)
        numbers = inverse.reshape(numbers.shape) + 1
    for index, window in enumerate(ndimage.find_objects(numbers), start=1):
        number = index if values is None else int(values[index - 1])
        if window is not None and number:
            yield number, window


def _instances(labels: Labels) -> Iterator[LabelledObject]:
    for number, box in sorted(boxes_of(labels.instance_map).items()):
        step = step_for(box)
        r0, c0, r1, c1 = (box[0] // step * step, box[1] // step * step, *box[2:])
        bitmaps: dict[int, BoolArray] = {}
        # At step 1 the box is one part, otherwise it is read in parts of whole elements.
        side = max(box[2:]) if step == 1 else _BLOCK_PX // step * step
        for top in range(r0, r1, side):
            for left in range(c0, c1, side):
                part = np.s_[top : min(top + side, r1), left : min(left + side, c1)]
                inside = np.asarray(labels.instance_map[part]) == number
                if not inside.any():
                    continue
                classes = np.asarray(labels.class_map[part])
                for class_id in np.unique(classes[inside]).tolist():
                    if class_id not in bitmaps:
                        bitmaps[class_id] = np.zeros((-((r0 - r1) // step), -((c0 - c1) // step)), np.bool_)
                    found = halves(inside & (classes == class_id), step)
                    row, col = (top - r0) // step, (left - c0) // step
                    bitmaps[class_id][row : row + found.shape[0], col : col + found.shape[1]] = found
        for class_id in sorted(bitmaps.keys() - {0}):
            mask = LocalMask.from_dense(bitmaps[class_id], r0, c0, step)
            if mask.bitmap.size:
                yield LabelledObject(number, class_id, mask, labels.details.get(number, {}))


def _regions(labels: Labels) -> Iterator[LabelledObject]:
    """Yield the connected components of class pixels without an object number."""

    def unnumbered(r0: int, c0: int, r1: int, c1: int) -> IntArray:
        window = np.s_[r0:r1, c0:c1]
        classes: IntArray = np.where(labels.instance_map[window], 0, labels.class_map[window])
        return classes

    boxes: list[Box] = []
    for block in blocks(labels.class_map):
        r0, c0, _, _ = block
        boxes += [
            (r0 + rows.start, c0 + cols.start, r0 + rows.stop, c0 + cols.stop)
            for _, (rows, cols) in _windows(unnumbered(*block))
        ]
    if not boxes:
        return
    from skimage.measure import label  # Slow to import.

    r0, c0, r1, c1 = (
        pick(side) for pick, side in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)
    )
    check_pixels(r1 - r0, c1 - c0, "the area without object numbers")
    classes = unnumbered(r0, c0, r1, c1)
    components = label(classes, background=0, connectivity=2)
    for number, window in _windows(components):
        bitmap = components[window] == number
        class_id = int(classes[window][bitmap][0])
        yield LabelledObject(0, class_id, LocalMask(r0 + window[0].start, c0 + window[1].start, bitmap))
