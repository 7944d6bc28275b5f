"""Masks of objects cut, grown and smoothed. Pure functions: they return what the object's pixels should become."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...arrays import BoolArray, LocalMask
from .masks import clip

_CORNERS = np.ones((3, 3), dtype=np.bool_)


def pieces(mask: LocalMask) -> list[LocalMask]:
    """Take a mask apart into its connected pieces, corners counting as connected, the largest first."""
    found, _ = ndimage.label(mask.bitmap, _CORNERS)
    parts = [
        LocalMask(mask.row + window[0].start, mask.col + window[1].start, found[window] == number)
        for number, window in enumerate(ndimage.find_objects(found), start=1)
    ]
    return sorted(parts, key=lambda part: -part.area_px)


def cut(mask: LocalMask, start_xy: tuple[float, float], stop_xy: tuple[float, float]) -> list[LocalMask]:
    """Cut a mask in two along the straight line through two points.

    Args:
        mask: The mask.
        start_xy: (x, y) in image pixels.
        stop_xy: Another point.

    Returns:
        The part on either side that is not empty, the larger first; a pixel belongs to the side of its centre.
    """
    height, width = mask.bitmap.shape
    y = np.arange(height)[:, None] + mask.row + 0.5 - start_xy[1]
    x = np.arange(width)[None] + mask.col + 0.5 - start_xy[0]
    left = (stop_xy[0] - start_xy[0]) * y - (stop_xy[1] - start_xy[1]) * x > 0
    parts = [LocalMask.from_dense(mask.bitmap & side, mask.row, mask.col) for side in (left, ~left)]
    return sorted((part for part in parts if part.bitmap.size), key=lambda part: -part.area_px)


def joined(masks: list[LocalMask]) -> LocalMask:
    """Return the pixels that any of the masks has."""
    row, col = min(mask.row for mask in masks), min(mask.col for mask in masks)
    height = max(mask.row + mask.bitmap.shape[0] for mask in masks) - row
    width = max(mask.col + mask.bitmap.shape[1] for mask in masks) - col
    bitmap = np.zeros((height, width), dtype=np.bool_)
    for mask in masks:
        r, c = mask.row - row, mask.col - col
        bitmap[r : r + mask.bitmap.shape[0], c : c + mask.bitmap.shape[1]] |= mask.bitmap
    return LocalMask(row, col, bitmap)


def grown(mask: LocalMask, by_px: int, hw: tuple[int, int]) -> LocalMask:
    """Add all pixels within `by_px` of a mask, inside an image of size (H, W)."""
    wide = clip(_padded(mask, by_px), hw)
    return LocalMask.from_dense(_distance(~wide.bitmap) <= by_px, wide.row, wide.col)


def shrunk(mask: LocalMask, by_px: int) -> LocalMask:
    """Take away all pixels within `by_px` of the outside; empty if nothing is left."""
    wide = _padded(mask, 1)
    return LocalMask.from_dense(_distance(wide.bitmap) > by_px, wide.row, wide.col)


def filled(mask: LocalMask) -> LocalMask:
    """Fill all holes."""
    return LocalMask(mask.row, mask.col, ndimage.binary_fill_holes(mask.bitmap))


def smoothed(mask: LocalMask, radius_px: int, hw: tuple[int, int]) -> LocalMask:
    """Round off what sticks out or in by less than a radius: a median filter by a disc; empty if nothing is left."""
    wide = clip(_padded(mask, radius_px), hw)
    y, x = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    disc = (np.hypot(y, x) <= radius_px + 0.5).astype(np.float32)
    from scipy.signal import fftconvolve  # Slow to import.

    # More than half of the disc: what a median of 0 and 1 is, in a time that does not grow with the radius.
    share = fftconvolve(wide.bitmap.astype(np.float32), disc, mode="same")
    return LocalMask.from_dense(share > disc.sum() / 2, wide.row, wide.col)


def _padded(mask: LocalMask, by_px: int) -> LocalMask:
    return LocalMask(mask.row - by_px, mask.col - by_px, np.pad(mask.bitmap, by_px))


def _distance(inside: BoolArray) -> np.ndarray:
    """Distance of each pixel that is True to the nearest that is False."""
    if inside.all():
        return np.full(inside.shape, np.inf)
    distance: np.ndarray = ndimage.distance_transform_edt(inside)
    return distance
