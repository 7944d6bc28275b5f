"""Splitting of a head's class map into one piece per object; touching objects are separated by shape.

An object is wide in the middle, and two touching objects are connected by a neck. The middles are maxima of the
distance to the outline; a maximum counts if the path to a higher one leads through a neck (h-maxima of the logarithm of
the distance, so that the depth is a ratio: Soille 2003, "Morphological image analysis", section 6.3.4).
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
"""Larger areas are split on a coarser grid of at most this side, with coarser cuts."""

_OUTLINE_PX = 1.0
"""Added to distances before comparison: outlines are accurate to a pixel, so small objects need deeper necks."""


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """A piece of the class map for one object."""

    mask: LocalMask
    """The pixels, in image coordinates, 8-connected."""
    class_id: int
    score: float
    """Mean probability of the class in the piece, 0..1."""


def pieces_of(segmentation: Segmentation, settings: InstanceSettings) -> Iterator[Piece]:
    """Split a class map into objects.

    Args:
        segmentation: Result of a head for an image or a region of it.
        settings: How objects are split.

    Yields:
        The pieces, ordered by class, without overlap; class 0 has none.
    """
    yield from pieces_in(segmentation.labels, segmentation.confidence, settings, segmentation.origin_rc)


def pieces_in(
    labels: UInt8Array,
    confidence: FloatArray,
    settings: InstanceSettings,
    origin_rc: tuple[int, int] = (0, 0),
    thresholds: Mapping[int, float] | None = None,
) -> Iterator[Piece]:
    """Split a class map into objects, with a position and thresholds per class; see `pieces_of`.

    Args:
        labels: (H, W) class ids, 0 is none.
        confidence: (H, W) probability of that class, 0..1.
        settings: How objects are split.
        origin_rc: Position (row, col) of the first pixel in the image.
        thresholds: Class id -> threshold, instead of that of the settings.

    Yields:
        The pieces, ordered by class, in image coordinates.
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
    """Yield the objects of a mask (H, W) bool: its 8-connected components, each split at necks.

    Components of fewer than `min_area_px` pixels are skipped. The cost is that of the components, not of the image.
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
    """Split one component at its necks.

    Args:
        mask: (H, W) bool, 8-connected, not empty; pixels outside the array are background.
        settings: How narrow a neck is, and the minimum area of a part.

    Returns:
        (H, W) int, the part 1, 2 ... of each pixel of the mask, 0 elsewhere.
    """
    if settings.neck <= 0:
        return mask.astype(np.int32)
    # Compute the smoothed distance to the outline, and the maxima between which there is a neck.
    inside = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(inside)
    if settings.smoothing > 0:
        distance = ndimage.gaussian_filter(distance, settings.smoothing * distance.max()) * inside
    seeds = _seeds(distance, inside, settings.neck)
    while seeds.max() > 1:
        # Grow the parts from the maxima.
        parts: IntArray = watershed(-distance, seeds, connectivity=2, mask=inside)
        areas = np.bincount(parts.ravel())
        kept = areas >= settings.min_area_px
        kept[0] = False
        if kept[1:].all():
            return parts[1:-1, 1:-1]
        # Remove the maxima of parts that are too small, so that their pixels go to neighbours.
        kept[areas[1:].argmax() + 1] = True
        seeds = np.where(kept, np.cumsum(kept), 0)[seeds]
    return mask.astype(np.int32)


def _split_coarse(mask: BoolArray, settings: InstanceSettings) -> IntArray:
    """Split a component using every nth pixel; the other pixels go to the nearest part."""
    step = -(-max(mask.shape) // _FINE_PX)
    coarse = mask[step // 2 :: step, step // 2 :: step]
    # Thin connections may be interrupted on the coarse grid: split only the largest component.
    areas = label(coarse, connectivity=2)
    parts = split(areas == 1 + np.bincount(areas.ravel())[1:].argmax(), settings) if areas.any() else areas
    if parts.max() < 2:
        return mask.astype(np.int32)
    # Enlarge the parts to full resolution.
    nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    filled = parts[tuple(nearest)].repeat(step, axis=0).repeat(step, axis=1)
    missing = [(0, max(0, side - have)) for side, have in zip(mask.shape, filled.shape, strict=True)]
    filled = np.pad(filled, missing, mode="edge")[: mask.shape[0], : mask.shape[1]]
    return _rejoin(filled * mask)


def _rejoin(parts: IntArray) -> IntArray:
    """Reassign components that are separated from the largest component of their part to a touching part.

    Args:
        parts: (H, W) int, 0 outside; the non-zero pixels are 8-connected.
    """
    # Label the components, and find the part of each and the largest of each part.
    pieces: IntArray = label(parts, connectivity=2)
    owner = np.zeros(pieces.max() + 1, dtype=np.int32)
    owner[pieces.ravel()] = parts.ravel()
    smallest_first = np.bincount(pieces.ravel()).argsort()
    largest = np.zeros(parts.max() + 1, dtype=np.int64)
    largest[owner[smallest_first]] = smallest_first
    final = np.zeros_like(owner)
    final[largest[1:]] = np.arange(1, len(largest))
    # Assign the others from neighbour to neighbour.
    pairs = _touching(pieces)
    while (final[1:] == 0).any():
        for first, second in (pairs, pairs[::-1]):
            free = (final[first] == 0) & (final[second] > 0)
            final[first[free]] = final[second[free]]
    joined: IntArray = final[pieces]
    return joined


def _touching(pieces: IntArray) -> IntArray:
    """List the pairs of numbers that touch (8-connected), (2, n), without 0."""
    pairs_by_direction = []
    for first, second in (
        (pieces[:, 1:], pieces[:, :-1]),
        (pieces[1:], pieces[:-1]),
        (pieces[1:, 1:], pieces[:-1, :-1]),
        (pieces[1:, :-1], pieces[:-1, 1:]),
    ):
        border = (first != second) & (first > 0) & (second > 0)
        pairs_by_direction.append(np.stack([first[border], second[border]]))
    pairs: IntArray = np.unique(np.concatenate(pairs_by_direction, axis=1), axis=1)
    return pairs


def _seeds(distance: FloatArray, inside: BoolArray, neck: float) -> IntArray:
    """Number the maxima of the distance that necks separate from each other; 0 elsewhere."""
    height = np.log(distance + _OUTLINE_PX)
    lowered = reconstruction(height + np.log(neck), height, method="dilation")
    seeds: IntArray = label(local_maxima(lowered, connectivity=2).astype(bool) & inside, connectivity=2)
    return seeds
