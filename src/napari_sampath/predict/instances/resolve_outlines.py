"""Choice of the outline of each object, the decoder's or the head's, without overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from skimage.measure import label

from ...arrays import BoolArray, IntArray, LocalMask
from ..everything.mask_filters import inclusive_box

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .settings import InstanceSettings
    from .split_touching import Piece

Answer: TypeAlias = tuple[LocalMask, float]
"""A mask of the decoder and its predicted IoU."""


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One object of a class."""

    mask: LocalMask
    """The pixels, in image coordinates; not shared with other objects."""
    class_id: int
    score: float
    """Mean probability of the class, 0..1, in the area that the head found."""
    predicted_iou: float | None
    """IoU that the decoder predicts for its outline; None if the outline is the head's."""

    @property
    def area_px(self) -> int:
        """Number of pixels."""
        return self.mask.area_px

    @property
    def bbox_xywh(self) -> tuple[int, int, int, int]:
        """Bounding box as in SAM's records: (x, y) of the first pixel, and the distance to the last one."""
        x0, y0, x1, y1 = inclusive_box(self.mask)
        return x0, y0, x1 - x0, y1 - y0


def settle(pieces: Sequence[Piece], answers: Sequence[Answer], settings: InstanceSettings) -> list[Instance]:
    """Choose the outline of each piece.

    Pixels of a piece stay with it, so that no object is lost to a neighbour. Other pixels covered by several outlines
    go to the one with the best predicted IoU.

    Args:
        pieces: The pieces of the head's class map, without overlap.
        answers: The decoder's mask and predicted IoU for the box of each piece.
        settings: When the decoder's outline is used.

    Returns:
        One object for each piece, in the same order.
    """
    owners = _Owners([piece.mask for piece in pieces], [mask for mask, _ in answers])
    instances: dict[int, Instance] = {}
    # Visit the pieces by predicted IoU, the best first.
    for number in sorted(range(len(pieces)), key=lambda number: -answers[number][1]):
        piece, (mask, score) = pieces[number], answers[number]
        # Take the free pixels of the decoder's mask, of its component on the piece.
        outline = _part_on(owners.open_to(number, mask), piece.mask)
        # Use this outline if it agrees with the head, else keep the piece.
        agreement = _iou(outline, piece.mask)
        if agreement > 0 and agreement >= settings.agreement and outline.area_px >= settings.min_area_px:
            owners.give(number, outline)
            instances[number] = Instance(outline, piece.class_id, piece.score, score)
        else:
            instances[number] = Instance(piece.mask, piece.class_id, piece.score, None)
    return [instances[number] for number in range(len(pieces))]


def outer_box(mask: LocalMask) -> tuple[int, int, int, int]:
    """Return the outer edges (x0, y0, x1, y1) of a mask, like a dragged box."""
    height, width = mask.bitmap.shape
    return mask.col, mask.row, mask.col + width, mask.row + height


class _Owners:
    """The owner of each pixel.

    Args:
        pieces: The initial pixels of each object.
        claims: All further pixels that the objects may get; they limit the size of the map.
    """

    def __init__(self, pieces: Sequence[LocalMask], claims: Sequence[LocalMask]) -> None:
        boxes = [outer_box(mask) for mask in (*pieces, *claims) if mask.bitmap.size] or [(0, 0, 0, 0)]
        self._left, self._top = min(box[0] for box in boxes), min(box[1] for box in boxes)
        hw = max(box[3] for box in boxes) - self._top, max(box[2] for box in boxes) - self._left
        self._owner = np.zeros(hw, dtype=np.int32)
        for number, mask in enumerate(pieces):
            self.give(number, mask)

    def _inside(self, mask: LocalMask) -> IntArray:
        return self._owner[LocalMask(mask.row - self._top, mask.col - self._left, mask.bitmap).slices]

    def open_to(self, number: int, mask: LocalMask) -> LocalMask:
        """Return the pixels of a mask that are free or belong to this object."""
        if not mask.bitmap.size:
            return mask
        owner = self._inside(mask)
        return LocalMask.from_dense(mask.bitmap & ((owner == 0) | (owner == number + 1)), mask.row, mask.col)

    def give(self, number: int, mask: LocalMask) -> None:
        """Assign the pixels of a mask to an object."""
        self._inside(mask)[mask.bitmap] = number + 1


def _part_on(mask: LocalMask, piece: LocalMask) -> LocalMask:
    """Return the 8-connected component of a mask that has the most pixels of a piece."""
    if not mask.bitmap.size:
        return mask
    parts, count = label(mask.bitmap, connectivity=2, return_num=True)
    if count < 2:
        return mask
    on_piece = np.bincount(parts[_seen_from(mask, piece)], minlength=count + 1)
    on_piece[0] = -1
    return LocalMask.from_dense(parts == int(on_piece.argmax()), mask.row, mask.col)


def _iou(first: LocalMask, second: LocalMask) -> float:
    """Intersection over union of two masks; 0 if both are empty."""
    shared = int(np.count_nonzero(first.bitmap & _seen_from(first, second)))
    union = first.area_px + second.area_px - shared
    return shared / union if union else 0.0


def _seen_from(window: LocalMask, mask: LocalMask) -> BoolArray:
    """Return the pixels of a mask in the bounding box (h, w) of another mask."""
    seen = np.zeros(window.bitmap.shape, dtype=np.bool_)
    (r0, r1), (c0, c1) = (
        (max(one.start, other.start), min(one.stop, other.stop))
        for one, other in zip(window.slices, mask.slices, strict=True)
    )
    if r0 < r1 and c0 < c1:
        seen[r0 - window.row : r1 - window.row, c0 - window.col : c1 - window.col] = mask.bitmap[
            r0 - mask.row : r1 - mask.row, c0 - mask.col : c1 - mask.col
        ]
    return seen
