"""Choice between the outlines of the decoder and the head for each object, without overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from skimage.measure import label

from ...arrays import BoolArray, IntArray, LocalMask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import InstanceSettings
    from .split_touching import HeadObject

Answer: TypeAlias = tuple[LocalMask, float]
"""A mask of the decoder and its predicted IoU."""


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One object of a class."""

    mask: LocalMask
    """The pixels, in image coordinates; not shared with other objects."""
    class_id: int
    score: float
    """Mean probability of the class, 0..1, in the head's mask of the object."""
    predicted_iou: float | None
    """IoU that the decoder predicts for its outline; None if the outline is the head's."""

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return self.mask.area_px

    @property
    def bbox_xywh(self) -> tuple[int, int, int, int]:
        """Bounding box as in SAM's records: (x, y) of the first pixel, and the distance to the last one."""
        x0, y0, x1, y1 = self.mask.inclusive_box
        return x0, y0, x1 - x0, y1 - y0


def choose_outlines(
    objects: Sequence[HeadObject], answers: Sequence[Answer], settings: InstanceSettings
) -> list[Instance]:
    """Choose the outline of each object.

    No object loses pixels of the head's mask to a neighbour. Other pixels that several outlines of the decoder cover
    are assigned to the outline with the best predicted IoU.

    Args:
        objects: The objects in the head's class map, without overlap.
        answers: The decoder's mask and predicted IoU for the box of each object.
        settings: Condition on which the decoder's outline is used.

    Returns:
        The objects with their outlines, in the same order.
    """
    owners = _Owners([obj.mask for obj in objects], [mask for mask, _ in answers])
    instances: dict[int, Instance] = {}
    # Visit the objects by predicted IoU, the best first; the order of equal ones depends on their place only.
    ranks = [
        (-score, obj.class_id, *first_pixel(obj.mask))
        for obj, (_, score) in zip(objects, answers, strict=True)
    ]
    for index in sorted(range(len(objects)), key=ranks.__getitem__):
        obj, (mask, score) = objects[index], answers[index]
        outline = matching_outline(owners.available_to(index, mask), obj.mask, settings)
        if outline is not None:
            owners.assign(index, outline)
            instances[index] = Instance(outline, obj.class_id, obj.score, score)
        else:
            instances[index] = Instance(obj.mask, obj.class_id, obj.score, None)
    return [instances[index] for index in range(len(objects))]


def matching_outline(available: LocalMask, head: LocalMask, settings: InstanceSettings) -> LocalMask | None:
    """Return the decoder's outline of an object if it agrees with the head's; None if the head's is kept.

    Args:
        available: The pixels of the decoder's mask that no other object has.
        head: The head's mask.
        settings: Condition on which the decoder's outline is used.
    """
    outline = _component_on(available, head)
    agreement = _iou(outline, head)
    is_used = agreement > 0 and agreement >= settings.agreement and outline.area_px >= settings.min_area_px
    return outline if is_used else None


def first_pixel(mask: LocalMask) -> tuple[int, int]:
    """Return (row, col) of the first pixel of a mask in reading order."""
    return mask.row, mask.col + int(mask.bitmap[0].argmax())


def outer_box(mask: LocalMask) -> tuple[int, int, int, int]:
    """Return the outer edges (x0, y0, x1, y1) of a mask, like a box that a user draws."""
    height, width = mask.bitmap.shape
    return mask.col, mask.row, mask.col + width, mask.row + height


class _Owners:
    """A map of the object that owns each pixel.

    Args:
        initial: The initial pixels of each object.
        further: Masks of all pixels that may be assigned later; the map covers the initial and these masks.
    """

    def __init__(self, initial: Sequence[LocalMask], further: Sequence[LocalMask]) -> None:
        boxes = [outer_box(mask) for mask in (*initial, *further) if mask.bitmap.size] or [(0, 0, 0, 0)]
        self._left, self._top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        hw = max(box[3] for box in boxes) - self._top, max(box[2] for box in boxes) - self._left
        self._owner = np.zeros(hw, dtype=np.int32)
        for index, mask in enumerate(initial):
            self.assign(index, mask)

    def _inside(self, mask: LocalMask) -> IntArray:
        return self._owner[LocalMask(mask.row - self._top, mask.col - self._left, mask.bitmap).slices]

    def available_to(self, index: int, mask: LocalMask) -> LocalMask:
        """Return the pixels of a mask that have no owner or belong to this object."""
        if not mask.bitmap.size:
            return mask
        owner = self._inside(mask)
        return LocalMask.from_dense(mask.bitmap & ((owner == 0) | (owner == index + 1)), mask.row, mask.col)

    def assign(self, index: int, mask: LocalMask) -> None:
        """Make an object the owner of the pixels of a mask."""
        self._inside(mask)[mask.bitmap] = index + 1


def _component_on(mask: LocalMask, other: LocalMask) -> LocalMask:
    """Return the 8-connected component of a mask that shares the most pixels with another mask."""
    if not mask.bitmap.size:
        return mask
    components, count = label(mask.bitmap, connectivity=2, return_num=True)
    if count < 2:
        return mask
    shared = np.bincount(components[_crop_to(mask, other)], minlength=count + 1)
    shared[0] = -1
    return LocalMask.from_dense(components == int(shared.argmax()), mask.row, mask.col)


def _iou(first: LocalMask, second: LocalMask) -> float:
    """Compute the intersection over union of two masks; 0 if both are empty."""
    shared = int(np.count_nonzero(first.bitmap & _crop_to(first, second)))
    union = first.area_px + second.area_px - shared
    return shared / union if union else 0.0


def _crop_to(window: LocalMask, mask: LocalMask) -> BoolArray:
    """Return the pixels of a mask in the bounding box (h, w) of another mask, `window`."""
    cropped = np.zeros(window.bitmap.shape, dtype=np.bool_)
    (r0, r1), (c0, c1) = (
        (max(inner.start, outer.start), min(inner.stop, outer.stop))
        for inner, outer in zip(window.slices, mask.slices, strict=True)
    )
    if r0 < r1 and c0 < c1:
        cropped[r0 - window.row : r1 - window.row, c0 - window.col : c1 - window.col] = mask.bitmap[
            r0 - mask.row : r1 - mask.row, c0 - mask.col : c1 - mask.col
        ]
    return cropped
