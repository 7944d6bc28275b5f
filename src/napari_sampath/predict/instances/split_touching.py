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

from ...arrays import BoolArray, IntArray, LocalMask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ...arrays import FloatArray, UInt8Array
    from ..segmentation import Segmentation
    from .settings import InstanceSettings

_FINE_PX = 1024
"""Larger areas are cut on a coarser grid of at most this side; the lines of the cut are that much coarser, too."""

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
    yield from pieces_in(segmentation.labels, segmentation.confidence, settings, segmentation.origin_rc)


def pieces_in(
    labels: UInt8Array,
    confidence: FloatArray,
    settings: InstanceSettings,
    origin_rc: tuple[int, int] = (0, 0),
    thresholds: Mapping[int, float] | None = None,
) -> Iterator[Piece]:
    """As `pieces_of`, for a class map that lies anywhere.

    Args:
        labels: (H, W) class ids, 0 is none.
        confidence: (H, W) probability of that class, 0..1.
        settings: What an object is.
        origin_rc: Where in the image (row, col) the first pixel lies.
        thresholds: Class id -> its own threshold, in place of that of the settings.

    Yields:
        The pieces, class by class, in image coordinates.
    """
    top, left = origin_rc
    for class_id in map(int, np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1):
        of_class = labels == class_id
        least = (thresholds or {}).get(class_id, settings.threshold)
        if least > 0:
            of_class &= confidence >= least
        for mask in objects_of(of_class, settings):
            score = float(confidence[mask.slices][mask.bitmap].mean(dtype=np.float64))
            yield Piece(LocalMask(mask.row + top, mask.col + left, mask.bitmap), class_id, score)


def objects_of(mask: BoolArray, settings: InstanceSettings) -> Iterator[LocalMask]:
    """Yield the objects of a mask (H, W) bool: its connected areas (corners count), each cut where it has a neck.

    Areas of fewer than `min_area_px` are left out. The cost is that of the areas, not of the image times their number.
    """
    areas: IntArray = label(mask, connectivity=2)
    for number, window in enumerate(ndimage.find_objects(areas), start=1):
        bits = areas[window] == number
        if np.count_nonzero(bits) < settings.min_area_px:
            continue
        parts = split(bits, settings) if max(bits.shape) <= _FINE_PX else _split_coarse(bits, settings)
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


def _split_coarse(mask: BoolArray, settings: InstanceSettings) -> IntArray:
    """As `split`, on every nth pixel alone; the others belong to the part that is nearest."""
    step = -(-max(mask.shape) // _FINE_PX)
    coarse = mask[step // 2 :: step, step // 2 :: step]
    # What is thinner than a step can fall apart there, and is no object for that.
    areas = label(coarse, connectivity=2)
    parts = split(areas == 1 + np.bincount(areas.ravel())[1:].argmax(), settings) if areas.any() else areas
    if parts.max() < 2:
        return mask.astype(np.int32)
    nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    filled = parts[tuple(nearest)].repeat(step, axis=0).repeat(step, axis=1)
    missing = [(0, max(0, side - have)) for side, have in zip(mask.shape, filled.shape, strict=True)]
    filled = np.pad(filled, missing, mode="edge")[: mask.shape[0], : mask.shape[1]]
    return _rejoin(filled * mask)


def _rejoin(parts: IntArray) -> IntArray:
    """Give what is cut off from the largest piece of its part to a part that it touches.

    Args:
        parts: (H, W) int, 0 outside; all that is not 0 is connected (corners count).
    """
    pieces: IntArray = label(parts, connectivity=2)
    owner = np.zeros(pieces.max() + 1, dtype=np.int32)
    owner[pieces.ravel()] = parts.ravel()
    smallest_first = np.bincount(pieces.ravel()).argsort()
    largest = np.zeros(parts.max() + 1, dtype=np.int64)
    largest[owner[smallest_first]] = smallest_first
    final = np.zeros_like(owner)
    final[largest[1:]] = np.arange(1, len(largest))
    pairs = _touching(pieces)
    while (final[1:] == 0).any():
        for one, other in (pairs, pairs[::-1]):
            free = (final[one] == 0) & (final[other] > 0)
            final[one[free]] = final[other[free]]
    joined: IntArray = final[pieces]
    return joined


def _touching(pieces: IntArray) -> IntArray:
    """List which numbers are neighbours (corners count), (2, n); 0 is none's neighbour."""
    found = []
    for one, other in (
        (pieces[:, 1:], pieces[:, :-1]),
        (pieces[1:], pieces[:-1]),
        (pieces[1:, 1:], pieces[:-1, :-1]),
        (pieces[1:, :-1], pieces[:-1, 1:]),
    ):
        border = (one != other) & (one > 0) & (other > 0)
        found.append(np.stack([one[border], other[border]]))
    pairs: IntArray = np.unique(np.concatenate(found, axis=1), axis=1)
    return pairs


def _seeds(distance: FloatArray, inside: BoolArray, neck: float) -> IntArray:
    """Number the maxima of the distance that a neck divides from each other; 0 elsewhere."""
    height = np.log(distance + _OUTLINE_PX)
    lowered = reconstruction(height + np.log(neck), height, method="dilation")
    seeds: IntArray = label(local_maxima(lowered, connectivity=2).astype(bool) & inside, connectivity=2)
    return seeds
