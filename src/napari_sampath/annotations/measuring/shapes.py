"""Measure the shape, colour and stain of one object."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from skimage.color import hed_from_rgb
from skimage.measure import regionprops_table

if TYPE_CHECKING:
    from ...arrays import BoolArray, FloatArray, LocalMask, UInt8Array


def shape_of(mask: LocalMask) -> dict[str, float]:
    """Measure a mask in pixels; keys as in `columns.OBJECT_COLUMNS`.

    The centroid of the pixel at row 0 and column 0 is (0.5, 0.5).
    """
    # Pad the crop, so that the outline is closed at its edges.
    padded = np.pad(mask.bitmap, 1).astype(np.uint8)
    table = regionprops_table(padded, properties=("area", "centroid", "perimeter_crofton"))
    step = mask.step
    area, perimeter = float(table["area"][0]) * step**2, float(table["perimeter_crofton"][0]) * step
    largest, smallest = (step * diameter for diameter in feret_diameters(mask.bitmap))
    return {
        "area_px": area,
        "perimeter_px": perimeter,
        "feret_max_px": largest,
        "feret_min_px": smallest,
        "circularity": min(1.0, 4 * math.pi * area / perimeter**2) if perimeter > 0 else 1.0,
        "centroid_x_px": (float(table["centroid-1"][0]) - 0.5) * step + mask.col,
        "centroid_y_px": (float(table["centroid-0"][0]) - 0.5) * step + mask.row,
    }


def feret_diameters(bitmap: BoolArray) -> tuple[float, float]:
    """Return the largest and the smallest Feret diameter of a mask (h, w), in pixels, from the corners of its pixels.

    The smallest distance of parallel supporting lines occurs with one line along a side of the convex hull (Toussaint
    1983, rotating calipers).
    """
    rows = np.flatnonzero(bitmap.any(axis=1))
    first = bitmap[rows].argmax(axis=1)
    last = bitmap.shape[1] - bitmap[rows, ::-1].argmax(axis=1)
    corners = np.concatenate(
        [np.stack([rows + down, cols], axis=1) for down in (0, 1) for cols in (first, last)]
    ).astype(np.float64)
    try:
        hull = corners[ConvexHull(corners).vertices]
    except QhullError:  # pragma: no cover - the corners of a pixel always span an area
        return 0.0, 0.0
    sides = np.roll(hull, -1, axis=0) - hull
    normals = np.stack([-sides[:, 1], sides[:, 0]], axis=1) / np.linalg.norm(sides, axis=1, keepdims=True)
    widths = np.ptp(hull @ normals.T, axis=0)
    distances = np.linalg.norm(hull[:, None] - hull[None], axis=2)
    return float(distances.max()), float(widths.min())


def colour_of(mask: LocalMask, image: Any) -> dict[str, float]:
    """Measure the mean colour and the optical densities of haematoxylin and eosin inside a mask.

    Args:
        mask: The pixels.
        image: (H, W, 3) uint8 RGB; only the bounding box of the mask is read.
    """
    crop: UInt8Array = np.asarray(image[mask.slices])[:: mask.step, :: mask.step]
    # A mask with a step can reach beyond the edges of the image.
    bitmap = mask.bitmap[: crop.shape[0], : crop.shape[1]]
    pixels = crop[bitmap].astype(np.float64)
    red, green, blue = pixels.mean(axis=0)
    haematoxylin, eosin, _ = stain_densities(pixels).mean(axis=0)
    return {
        "mean_red": float(red),
        "mean_green": float(green),
        "mean_blue": float(blue),
        "od_haematoxylin": float(haematoxylin),
        "od_eosin": float(eosin),
    }


def stain_densities(pixels: FloatArray) -> FloatArray:
    """Separate pixels (N, 3), RGB 0..255, into optical densities (N, 3) of haematoxylin, eosin and DAB.

    Source: Ruifrok and Johnston 2001, Anal. Quant. Cytol. Histol. 23(4), with the stain vectors of scikit-image.
    """
    density = -np.log10(np.maximum(pixels, 1.0) / 255.0)
    separated: FloatArray = density @ hed_from_rgb
    return separated
