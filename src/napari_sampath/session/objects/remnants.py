"""Find the slivers that remain of objects after a new mask overwrites them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ...annotations import Add, Batch, Box, Document, Erase, Operation, bounds, clip
from ...annotations.masks.shaping import joined
from ...annotations.model.operations import label
from ...arrays import BoolArray, LocalMask
from .reshaping import without

REMNANT_SHARE = 0.05
"""A piece with a smaller share of the area of its object before the overwrite is a remnant."""
REMNANT_WIDTH_PX = 3
"""A piece into which no larger square fits is a remnant, unless its whole object was that thin."""
MARGIN_PX = 32
"""Pieces that reach further than this beyond the bounding box of the mask are not remnants."""

_SQUARE = np.ones((3, 3), dtype=np.bool_)
_WIDE = np.ones((REMNANT_WIDTH_PX + 1, REMNANT_WIDTH_PX + 1), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Remnants:
    """Slivers of overwritten objects."""

    ids: tuple[int, ...]
    """Ids of the objects."""
    mask: LocalMask
    """All slivers."""

    def sentence(self, document: Document) -> str:
        """Describe the removal; call it before the slivers are erased: "Removed slivers (12 px) of nucleus 3."."""
        names = [
            f"{document.classes.by_id(document.record(key).class_id).name} {key}" for key in self.ids[:3]
        ]
        if len(self.ids) > 3:
            names.append(f"{len(self.ids) - 3} more")
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        return f"Removed slivers ({self.mask.area_px:,} px) of {listed}."


def without_remnants(document: Document, operation: Operation) -> tuple[Operation, Remnants | None]:
    """Return an operation that also erases the slivers that would remain of the objects that it overwrites.

    The larger pieces of an overwritten object stay one object, even if they are no longer connected.

    Args:
        document: The document, which is not changed.
        operation: The operation that adds masks.

    Returns:
        The operation, as one undo step, and the slivers; None if there are none.
    """
    added = [(key, clip(mask, document.hw)) for key, mask in _added(operation)]
    remnants = find_remnants(document, [mask for _, mask in added], {key for key, _ in added})
    if remnants is None:
        return operation, None
    erase = Erase(remnants.mask)
    if isinstance(operation, Batch):
        return replace(operation, operations=(*operation.operations, erase)), remnants
    return Batch((operation, erase), label(operation)), remnants


def find_remnants(document: Document, masks: Sequence[LocalMask], own: Collection[int]) -> Remnants | None:
    """Return the slivers that would remain of other objects than `own` under masks; None if there are none."""
    height, width = document.hw
    found: dict[int, list[LocalMask]] = {}
    for mask in masks:
        if mask.step > 1 or not mask.bitmap.any():
            continue
        r0, c0, r1, c1 = bounds(mask)
        box = (
            max(0, r0 - MARGIN_PX),
            max(0, c0 - MARGIN_PX),
            min(height, r1 + MARGIN_PX),
            min(width, c1 + MARGIN_PX),
        )
        owners = np.asarray(document.instance_map.window(box))
        window = LocalMask(box[0], box[1], np.ones(owners.shape, dtype=np.bool_))
        written = ~_dense(without(window, masks), box)
        # Pieces at an edge of the window that is not an edge of the image may go on outside.
        edge = np.zeros_like(written)
        edge[0], edge[-1] = box[0] > 0, box[2] < height
        edge[:, 0] |= box[1] > 0
        edge[:, -1] |= box[3] < width
        for object_id in np.unique(owners[_dense(mask, box)]).tolist():
            if object_id and object_id not in own:
                area_px = document.record(object_id).area_px
                slivers = _slivers(owners == object_id, written, edge, area_px)
                if slivers.any():
                    found.setdefault(object_id, []).append(LocalMask.from_dense(slivers, box[0], box[1]))
    if not found:
        return None
    return Remnants(tuple(found), joined([mask for parts in found.values() for mask in parts]))


def _slivers(before: BoolArray, written: BoolArray, edge: BoolArray, area_px: int) -> BoolArray:
    """Return the slivers of one object in a window.

    Args:
        before: (h, w) pixels of the object before the overwrite.
        written: (h, w) pixels of the new masks.
        edge: (h, w) pixels beyond which a piece may go on.
        area_px: Area of the whole object before the overwrite.
    """
    labels, _ = ndimage.label(before & ~written, _SQUARE)
    slivers = np.zeros_like(before)
    thin_before = not ndimage.binary_erosion(before, _WIDE).any()
    # Pieces away from the masks were separate before.
    beside = np.unique(labels[ndimage.binary_dilation(written, _SQUARE)])
    windows = ndimage.find_objects(labels)
    for number in beside[beside > 0].tolist():
        window = windows[number - 1]
        piece = labels[window] == number
        small = np.count_nonzero(piece) < REMNANT_SHARE * area_px
        thin = not thin_before and not ndimage.binary_erosion(piece, _WIDE).any()
        if (small or thin) and not edge[window][piece].any():
            slivers[window] |= piece
    return slivers


def _dense(mask: LocalMask, box: Box) -> BoolArray:
    """Return the pixels (r1 - r0, c1 - c0) of a mask in a box that contains it."""
    r0, c0, r1, c1 = box
    dense = np.zeros((r1 - r0, c1 - c0), dtype=np.bool_)
    height, width = mask.bitmap.shape
    dense[mask.row - r0 : mask.row - r0 + height, mask.col - c0 : mask.col - c0 + width] = mask.bitmap
    return dense


def _added(operation: Operation) -> list[tuple[int, LocalMask]]:
    """Return the id and the mask of each object to which an operation adds pixels."""
    match operation:
        case Add(items=items):
            return [(record.id, mask) for record, mask in items if mask.bitmap.any()]
        case Batch(operations=operations):
            return [item for part in operations for item in _added(part)]
        case _:
            return []
