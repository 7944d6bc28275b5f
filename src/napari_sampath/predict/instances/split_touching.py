"""Splitting of a head's class map into objects; touching objects are separated by shape.

An object is wide in the middle, and two touching objects are connected by a neck. The middles are maxima of the
distance to the outline. A maximum is used if every path to a higher one passes through a neck (h-maxima of the
logarithm of the distance, so that the depth is a ratio: Soille 2003, "Morphological image analysis", section 6.3.4).

If the head predicts the depth of each pixel in its object, its maxima are used instead of those of the distance.
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
"""Maximum side of a component that is split at full resolution; larger ones are split on a coarser grid."""

_DEPTH_STEP, _DEPTH_SIGMA_PX = 0.15, 1.0
"""A maximum of the smoothed depth is an object if it rises above the pass to a higher one by this. On training images,
the quality hardly depends on the step from 0.15 to 0.3."""

_OUTLINE_PX = 1.0
"""Added to distances before comparison: outlines are accurate to a pixel, so small objects need deeper necks."""


@dataclass(frozen=True, slots=True, eq=False)
class HeadObject:
    """One object in the class map of a head."""

    mask: LocalMask
    """The pixels, in image coordinates, 8-connected."""
    class_id: int
    score: float
    """Mean probability of the class in the mask, 0..1."""


def split_segmentation(segmentation: Segmentation, settings: InstanceSettings) -> Iterator[HeadObject]:
    """Split the class map of a segmentation into objects.

    Args:
        segmentation: Result of a head for an image or a region of it.
        settings: How objects are split.

    Yields:
        The objects, ordered by class, without overlap; class 0 is background.
    """
    labels, confidence, depth = segmentation.labels, segmentation.confidence, segmentation.depth
    yield from split_class_map(labels, confidence, settings, segmentation.origin_rc, depth=depth)


def split_class_map(
    labels: UInt8Array,
    confidence: FloatArray,
    settings: InstanceSettings,
    origin_rc: tuple[int, int] = (0, 0),
    thresholds: Mapping[int, float] | None = None,
    depth: FloatArray | None = None,
) -> Iterator[HeadObject]:
    """Split a class map into objects, with a threshold for each class.

    Args:
        labels: (H, W) class ids, 0 for background.
        confidence: (H, W) probability of the class of each pixel, 0..1.
        settings: How objects are split.
        origin_rc: Position (row, col) of the first pixel in the image.
        thresholds: Class id -> threshold that replaces the one in the settings.
        depth: (H, W) depth of each pixel in its object, 0..1, if the head predicts it.

    Yields:
        The objects, ordered by class, without overlap, in image coordinates. With a depth, only those whose mean
        probability is at least `min_score`.
    """
    top, left = origin_rc
    min_score = settings.min_score if depth is not None and settings.neck > 0 else 0.0
    for class_id in map(int, np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1):
        of_class = labels == class_id
        threshold = (thresholds or {}).get(class_id, settings.threshold)
        if threshold > 0:
            of_class &= confidence >= threshold
        for mask in split_mask(of_class, settings, depth):
            score = float(confidence[mask.slices][mask.bitmap].mean(dtype=np.float64))
            if score >= min_score:
                yield HeadObject(LocalMask(mask.row + top, mask.col + left, mask.bitmap), class_id, score)


def split_mask(
    mask: BoolArray, settings: InstanceSettings, depth: FloatArray | None = None
) -> Iterator[LocalMask]:
    """Yield the objects in a mask (H, W) bool: its 8-connected components, each split at necks or by depth (H, W).

    Components of fewer than `min_area_px` pixels are skipped.
    """
    areas: IntArray = label(mask, connectivity=2)
    for number, window in enumerate(ndimage.find_objects(areas), start=1):
        for part in split_component(
            areas[window] == number, settings, None if depth is None else depth[window]
        ):
            yield LocalMask(window[0].start + part.row, window[1].start + part.col, part.bitmap)


def split_component(
    mask: BoolArray, settings: InstanceSettings, depth: FloatArray | None = None
) -> Iterator[LocalMask]:
    """Yield the objects in one component (H, W), 8-connected; none if it has fewer than `min_area_px` pixels."""
    if np.count_nonzero(mask) < settings.min_area_px:
        return
    if depth is not None and settings.neck > 0:
        parts = split_by_depth(mask, depth, settings)
    else:
        parts = split(mask, settings) if max(mask.shape) <= _FINE_PX else _split_coarse(mask, settings)
    for part, (rows, cols) in enumerate(ndimage.find_objects(parts), start=1):
        yield LocalMask(rows.start, cols.start, parts[rows, cols] == part)


def split(mask: BoolArray, settings: InstanceSettings) -> IntArray:
    """Split one component at its necks.

    Args:
        mask: (H, W) bool, 8-connected, not empty; pixels outside the array are background.
        settings: Width of a neck and minimum area of a part.

    Returns:
        (H, W) int, number of the part (1, 2 ...) of each pixel in the mask, 0 elsewhere.
    """
    if settings.neck <= 0:
        return mask.astype(np.int32)
    # Compute the smoothed distance to the outline, and its maxima that necks separate.
    inside = np.pad(mask, 1)
    distance = ndimage.distance_transform_edt(inside)
    if settings.smoothing > 0:
        distance = ndimage.gaussian_filter(distance, settings.smoothing * distance.max()) * inside
    return _grow(_seeds(distance, inside, settings.neck), distance, inside, settings.min_area_px)[1:-1, 1:-1]


def split_by_depth(mask: BoolArray, depth: FloatArray, settings: InstanceSettings) -> IntArray:
    """Split one component between the maxima of the depth; arguments and result as for `split`.

    Args:
        mask: See `split`.
        depth: (H, W) depth of each pixel in its object, 0..1.
        settings: Minimum area of a part. `neck` and `smoothing` do not apply, as a head learns the separation.
    """
    smoothed = ndimage.gaussian_filter(depth.astype(np.float32), _DEPTH_SIGMA_PX)
    height = np.where(mask, smoothed, 0).astype(np.float32)
    lowered = reconstruction(np.maximum(height - _DEPTH_STEP, 0), height, method="dilation")
    seeds: IntArray = label(local_maxima(lowered, connectivity=2).astype(bool) & mask, connectivity=2)
    return _grow(seeds, height, mask, settings.min_area_px)


def _grow(seeds: IntArray, height: FloatArray, inside: BoolArray, min_area_px: int) -> IntArray:
    """Grow parts from seeds down the height (H, W), without the seeds of parts that are too small."""
    while seeds.max() > 1:
        # Grow the parts from the maxima.
        parts: IntArray = watershed(-height, seeds, connectivity=2, mask=inside)
        areas = np.bincount(parts.ravel())
        kept = areas >= min_area_px
        kept[0] = False
        if kept[1:].all():
            return parts
        # Remove the maxima of parts that are too small, so that neighbours grow into them.
        kept[areas[1:].argmax() + 1] = True
        seeds = np.where(kept, np.cumsum(kept), 0)[seeds]
    return inside.astype(np.int32)


def _split_coarse(mask: BoolArray, settings: InstanceSettings) -> IntArray:
    """Split a component using every nth pixel; the other pixels are assigned to the nearest part."""
    step = -(-max(mask.shape) // _FINE_PX)
    coarse = mask[step // 2 :: step, step // 2 :: step]
    # Thin connections may be interrupted on the coarse grid, so split only the largest component.
    areas = label(coarse, connectivity=2)
    parts = split(areas == 1 + np.bincount(areas.ravel())[1:].argmax(), settings) if areas.any() else areas
    if parts.max() < 2:
        return mask.astype(np.int32)
    # Enlarge the parts to full resolution.
    nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    filled = parts[tuple(nearest)].repeat(step, axis=0).repeat(step, axis=1)
    missing = [(0, max(0, side - size)) for side, size in zip(mask.shape, filled.shape, strict=True)]
    filled = np.pad(filled, missing, mode="edge")[: mask.shape[0], : mask.shape[1]]
    return _rejoin(filled * mask)


def _rejoin(parts: IntArray) -> IntArray:
    """Assign the components of each part, except the largest, to a part that they touch.

    Args:
        parts: (H, W) int, 0 outside; the non-zero pixels are 8-connected.
    """
    # Label the components, and find the part of each component and the largest component of each part.
    components: IntArray = label(parts, connectivity=2)
    owner = np.zeros(components.max() + 1, dtype=np.int32)
    owner[components.ravel()] = parts.ravel()
    smallest_first = np.bincount(components.ravel()).argsort()
    largest = np.zeros(parts.max() + 1, dtype=np.int64)
    largest[owner[smallest_first]] = smallest_first
    final = np.zeros_like(owner)
    final[largest[1:]] = np.arange(1, len(largest))
    # Assign the other components to the parts of their neighbours, until none is left.
    pairs = _touching(components)
    while (final[1:] == 0).any():
        for first, second in (pairs, pairs[::-1]):
            free = (final[first] == 0) & (final[second] > 0)
            final[first[free]] = final[second[free]]
    joined: IntArray = final[components]
    return joined


def _touching(labels: IntArray) -> IntArray:
    """List the pairs (2, n) of different labels (H, W) other than 0 that touch (8-connected)."""
    pairs_by_direction = []
    for first, second in (
        (labels[:, 1:], labels[:, :-1]),
        (labels[1:], labels[:-1]),
        (labels[1:, 1:], labels[:-1, :-1]),
        (labels[1:, :-1], labels[:-1, 1:]),
    ):
        border = (first != second) & (first > 0) & (second > 0)
        pairs_by_direction.append(np.stack([first[border], second[border]]))
    pairs: IntArray = np.unique(np.concatenate(pairs_by_direction, axis=1), axis=1)
    return pairs


def _seeds(distance: FloatArray, inside: BoolArray, neck: float) -> IntArray:
    """Number the maxima of the distance (H, W) that are separated by necks; 0 elsewhere."""
    height = np.log(distance + _OUTLINE_PX)
    lowered = reconstruction(height + np.log(neck), height, method="dilation")
    seeds: IntArray = label(local_maxima(lowered, connectivity=2).astype(bool) & inside, connectivity=2)
    return seeds
