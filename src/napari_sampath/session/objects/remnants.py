"""Find the slivers that remain of objects after a new mask overwrites them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from ...annotations import Add, Batch, Document, Erase, Operation, bounds, clip
from ...annotations.masks.shaping import exact_union
from ...annotations.masks.tiles import MAX_STEP
from ...annotations.model.operations import label
from ...arrays import BoolArray, IntArray, LocalMask

REMNANT_SHARE = 0.05
"""A piece with a smaller share of the area of its object before the overwrite is a remnant."""
REMNANT_WIDTH_PX = 3
"""A piece into which no larger square fits is a remnant, unless its whole object was that thin."""
MARGIN_PX = 32
"""Pieces that extend beyond the bounding box of the mask by more elements than this are not remnants."""

_SQUARE = np.ones((3, 3), dtype=np.bool_)
_WIDE = np.ones((REMNANT_WIDTH_PX + 1, REMNANT_WIDTH_PX + 1), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Remnants:
    """Slivers of overwritten objects."""

    ids: tuple[int, ...]
    """Ids of the objects."""
    masks: tuple[LocalMask, ...]
    """All slivers, of step 1."""

    def sentence(self, document: Document) -> str:
        """Describe the removal; call it before the slivers are erased: "Removed slivers (12 px) of nucleus 3."."""
        names = [
            f"{document.classes.by_id(document.record(key).class_id).name} {key}" for key in self.ids[:3]
        ]
        if len(self.ids) > 3:
            names.append(f"{len(self.ids) - 3} more")
        listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
        area_px = sum(mask.area_px for mask in self.masks)
        return f"Removed slivers ({area_px:,} px) of {listed}."


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
    erase = tuple(map(Erase, remnants.masks))
    if isinstance(operation, Batch):
        return replace(operation, operations=(*operation.operations, *erase)), remnants
    return Batch((operation, *erase), label(operation)), remnants


def find_remnants(document: Document, masks: Sequence[LocalMask], own: Collection[int]) -> Remnants | None:
    """Return the slivers that would remain of other objects than `own` under masks; None if there are none."""
    found: dict[int, list[LocalMask]] = {}
    for mask in masks:
        if mask.bitmap.any() and mask.step <= MAX_STEP:
            for object_id, sliver in _under(document, mask, masks, own):
                found.setdefault(object_id, []).append(sliver)
    if not found:
        return None
    return Remnants(tuple(found), tuple(exact_union([part for parts in found.values() for part in parts])))


def _under(
    document: Document, mask: LocalMask, masks: Sequence[LocalMask], own: Collection[int]
) -> Iterator[tuple[int, LocalMask]]:
    """Yield the slivers of objects under one of the masks, found at the step of that mask."""
    step, (height, width) = mask.step, document.hw
    margin = MARGIN_PX * step
    r0, c0, r1, c1 = bounds(mask)
    top, left = max(0, r0 - margin), max(0, c0 - margin)
    box = (top, left, min(height, r1 + margin), min(width, c1 + margin))
    owners: IntArray = document.instance_map.read(box, step)
    written = np.logical_or.reduce([other.window(box, step) for other in masks])
    # Pieces at an edge of the window that is not an edge of the image may go on outside.
    edge = np.zeros_like(written)
    edge[0], edge[-1] = box[0] > 0, box[2] < height
    edge[:, 0] |= box[1] > 0
    edge[:, -1] |= box[3] < width
    for object_id in np.unique(owners[mask.window(box, step)]).tolist():
        if not object_id or object_id in own:
            continue
        record = document.record(object_id)
        low, high = np.array(record.box[:2]) - (top, left), np.array(record.box[2:]) - (top, left)
        first, last = np.maximum(low // step - 1, 0), -(-high // step) + 1
        part = slice(first[0], last[0]), slice(first[1], last[1])
        of_object = owners[part] == object_id
        slivers = _slivers(of_object, written[part], edge[part], record.area_px / step**2, step == 1)
        if slivers.any():
            row, col = (int(start) * step + offset for start, offset in zip(first, (top, left), strict=True))
            yield object_id, _exact(document, object_id, LocalMask.from_dense(slivers, row, col, step), masks)


def _exact(document: Document, object_id: int, mask: LocalMask, written: Sequence[LocalMask]) -> LocalMask:
    """Return the pixels of an object under a small mask of any step that are not written."""
    if mask.step == 1:
        return mask
    box = bounds(clip(mask, document.hw))
    box = (*box[:2], min(box[2], document.hw[0]), min(box[3], document.hw[1]))
    pixels = (document.instance_map.window(box) == object_id) & mask.window(box)
    for other in written:
        pixels &= ~other.window(box)
    return LocalMask.from_dense(pixels, box[0], box[1])


def _slivers(
    before: BoolArray, written: BoolArray, edge: BoolArray, area_px: float, find_thin: bool
) -> BoolArray:
    """Return the slivers of one object in a window.

    Args:
        before: (h, w) pixels of the object before the overwrite.
        written: (h, w) pixels of the new masks.
        edge: (h, w) pixels beyond which a piece may go on.
        area_px: Area of the whole object before the overwrite.
        find_thin: Whether thin pieces are slivers, too.
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
        thin = find_thin and not thin_before and not ndimage.binary_erosion(piece, _WIDE).any()
        if (small or thin) and not edge[window][piece].any():
            slivers[window] |= piece
    return slivers


def _added(operation: Operation) -> list[tuple[int, LocalMask]]:
    """Return the id and the mask of each object to which an operation adds pixels."""
    match operation:
        case Add(items=items):
            return [(record.id, mask) for record, mask in items if mask.bitmap.any()]
        case Batch(operations=operations):
            return [item for part in operations for item in _added(part)]
        case _:
            return []
