"""A head's class map cut into pieces, one for each object: objects that touch are told apart by their shape alone.

An object is thick in the middle, and where two touch there is a neck. The middles are the maxima of the distance
from the outline; a maximum counts if the way to a higher one leads through a neck (h-maxima of the logarithm of the
distance, Soille 2003, "Morphological image analysis", section 6.3.4: so that the depth is a ratio and no length).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.measure import label
from skimage.morphology import local_maxima, reconstruction
from skimage.segmentation import watershed

from ..arrays import BoolArray, IntArray, LocalMask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..arrays import FloatArray
    from .automatic import Segmentation
    from .instance_settings import InstanceSettings

_OUTLINE_PX = 1.0
"""Added to distances before they are compared: an outline is known to a pixel, so small objects need deep necks."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What the head takes for one object."""

    mask: LocalMask
    """Its pixels, in image coordinates, connected (corners count)."""
    class_id: int
    score: float
    """Mean probability of its class inside it, 0..1."""


def pieces_of(segmentation: Segmentation, settings: InstanceSettings) -> Iterator[Piece]:
    """Cut a class map into objects of one class each.

    Tiles play no part in it: they are blended in the class map already.

    Args:
        segmentation: Result of a head, on the image or on a region of it.
        settings: What an object is.

    Yields:
        The pieces, class by class, without a pixel in common; the class with id 0 has none.
    """
    labels, confidence = segmentation.labels, segmentation.confidence
    for class_id in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1:
        of_class = labels == class_id
        if settings.threshold > 0:
            of_class &= confidence >= settings.threshold
        for mask in objects_of(of_class, settings):
            score = float(confidence[mask.slices][mask.bitmap].mean(dtype=np.float64))
            top, left = segmentation.origin_rc
            placed = LocalMask(mask.row + top, mask.col + left, mask.bitmap)
            yield Piece(placed, int(class_id), score)


def objects_of(mask: BoolArray, settings: InstanceSettings) -> Iterator[LocalMask]:
    """Yield the objects of a mask (H, W) bool: its connected areas (corners count), each cut where it has a neck.

    Areas of fewer than `min_area_px` are left out. The cost is that of the areas, not of the image times their number.
    """
    areas: IntArray = label(mask, connectivity=2)
    for number, window in enumerate(ndimage.find_objects(areas), start=1):
        bits = areas[window] == number
        if np.count_nonzero(bits) < settings.min_area_px:
            continue
        parts = split(bits, settings)
        for part, (rows, cols) in enumerate(ndimage.find_objects(parts), start=1):
            row, col = window[0].start + rows.start, window[1].start + cols.start
            yield LocalMask(row, col, parts[rows, cols] == part)


def split(mask: BoolArray, settings: InstanceSettings) -> IntArray:
    """Cut one connected area where it has a neck.

    Args:
        mask: (H, W) bool, connected (corners count), not empty; beyond the array there is nothing.
        settings: How narrow a neck is, and how small a part.

    Returns:
        (H, W) int, the part 1, 2 ... of each pixel of the mask, 0 elsewhere.
    """
    if settings.neck <= 0:
        return mask.astype(np.int32)
    inside = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(inside)
    if settings.smoothing > 0:
        distance = ndimage.gaussian_filter(distance, settings.smoothing * distance.max()) * inside
    seeds = _seeds(distance, inside, settings.neck)
    while seeds.max() > 1:
        parts: IntArray = watershed(-distance, seeds, connectivity=2, mask=inside)
        areas = np.bincount(parts.ravel())
        kept = areas >= settings.min_area_px
        kept[0] = False
        if kept[1:].all():
            return parts[1:-1, 1:-1]
        # A part that is too small goes to its neighbours; its pixels are not lost.
        kept[areas[1:].argmax() + 1] = True
        seeds = np.where(kept, np.cumsum(kept), 0)[seeds]
    return mask.astype(np.int32)


def _seeds(distance: FloatArray, inside: BoolArray, neck: float) -> IntArray:
    """Number the maxima of the distance that a neck divides from each other; 0 elsewhere."""
    height = np.log(distance + _OUTLINE_PX)
    lowered = reconstruction(height + np.log(neck), height, method="dilation")
    seeds: IntArray = label(local_maxima(lowered, connectivity=2).astype(bool) & inside, connectivity=2)
    return seeds
