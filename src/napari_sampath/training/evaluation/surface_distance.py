"""Distances between outlines: HD95 and ASSD, as medpy defines them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_erosion, distance_transform_edt

from ...arrays import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class SurfaceDistances:
    """How far two outlines are apart, in pixels."""

    hd95: float
    """95th percentile of the distances of each outline's pixels to the other outline, both ways together."""
    assd: float
    """Mean of the two mean distances."""


def surface_distances(predicted: BoolArray, true: BoolArray) -> SurfaceDistances | None:
    """Measure the distances between the outlines of two masks (H, W).

    The outline of a mask is its pixels with a 4-neighbour outside of it, or at the edge of the image.

    Returns:
        The distances; None if one mask is empty: there is no outline to measure from.
    """
    both = predicted | true
    rows, cols = np.flatnonzero(both.any(axis=1)), np.flatnonzero(both.any(axis=0))
    if not predicted.any() or not true.any():
        return None
    window = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
    outlines = [mask[window] & ~binary_erosion(mask[window]) for mask in (predicted, true)]
    there = _distances(outlines[0], outlines[1])
    back = _distances(outlines[1], outlines[0])
    together = np.concatenate([there, back])
    return SurfaceDistances(float(np.percentile(together, 95)), float((there.mean() + back.mean()) / 2))


def _distances(outline: BoolArray, other: BoolArray) -> FloatArray:
    found: FloatArray = distance_transform_edt(~other)[outline]
    return found
