"""Distances between outlines: HD95 and ASSD, as defined in medpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from ...arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """Distances between two outlines, in pixels."""

    hd95: float
    """95th percentile of the distances from the pixels of each outline to the other outline, in both directions."""
    assd: float
    """Average symmetric surface distance: mean of the mean distances in both directions."""


def surface_distances(predicted: BoolArray, true: BoolArray) -> SurfaceDistances | None:
    """Measure the distances between the outlines of two masks (H, W); None if one is empty.

    The outline of a mask consists of its pixels that have a 4-neighbour outside the mask or lie at the image edge.
    """
    if not predicted.any() or not true.any():
        return None
    # Crop to the bounding box of both masks.
    union = predicted | true
    rows, cols = np.flatnonzero(union.any(axis=1)), np.flatnonzero(union.any(axis=0))
    window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    # Extract the outlines.
    outlines = [mask[window] & ~binary_erosion(mask[window]) for mask in (predicted, true)]
    # Measure each outline's distances to the other.
    forward = _distances(outlines[0], outlines[1])
    backward = _distances(outlines[1], outlines[0])
    hd95 = np.percentile(np.concatenate([forward, backward]), 95)
    return SurfaceDistances(float(hd95), float((forward.mean() + backward.mean()) / 2))


def _distances(outline: BoolArray, other: BoolArray) -> FloatArray:
    distances: FloatArray = distance_transform_edt(~other)[outline]
    return distances
