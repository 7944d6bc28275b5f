"""Operations on masks: split, join, grow, shrink, fill and smooth. Pure functions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ...arrays import BoolArray, LocalMask
from .masks import clip
from .steps import same_step

_CORNERS = np.ones((3, 3), dtype=np.bool_)


def components(mask: LocalMask) -> list[LocalMask]:
    """Return the connected components of a mask (8-connected), largest first."""
    labels, _ = ndimage.label(mask.bitmap, _CORNERS)
    parts = [
        LocalMask(
            mask.row + window[0].start * mask.step,
            mask.col + window[1].start * mask.step,
            labels[window] == number,
            mask.step,
        )
        for number, window in enumerate(ndimage.find_objects(labels), start=1)
    ]
    return sorted(parts, key=lambda part: -part.area_px)


def split(mask: LocalMask, start_xy: tuple[float, float], stop_xy: tuple[float, float]) -> list[LocalMask]:
    """Split a mask along the straight line through two points.

    Args:
        mask: The mask.
        start_xy: First point (x, y) in image pixels.
        stop_xy: Second point (x, y).

    Returns:
        The non-empty parts, largest first; each pixel belongs to the side on which its centre lies.
    """
    height, width = mask.bitmap.shape
    y = (np.arange(height)[:, None] + 0.5) * mask.step + mask.row - start_xy[1]
    x = (np.arange(width)[None] + 0.5) * mask.step + mask.col - start_xy[0]
    left = (stop_xy[0] - start_xy[0]) * y - (stop_xy[1] - start_xy[1]) * x > 0
    parts = [
        LocalMask.from_dense(mask.bitmap & side, mask.row, mask.col, mask.step) for side in (left, ~left)
    ]
    return sorted((part for part in parts if part.bitmap.size), key=lambda part: -part.area_px)


def joined(masks: list[LocalMask]) -> LocalMask:
    """Return the union of masks, at the finest possible step; see `steps.same_step`."""
    masks = same_step(masks)
    step = masks[0].step
    row, col = min(mask.row for mask in masks), min(mask.col for mask in masks)
    height = max(mask.slices[0].stop for mask in masks) - row
    width = max(mask.slices[1].stop for mask in masks) - col
    bitmap = np.zeros((height // step, width // step), dtype=np.bool_)
    for mask in masks:
        r, c = (mask.row - row) // step, (mask.col - col) // step
        bitmap[r : r + mask.bitmap.shape[0], c : c + mask.bitmap.shape[1]] |= mask.bitmap
    return LocalMask(row, col, bitmap, step)


def exact_union(masks: list[LocalMask]) -> list[LocalMask]:
    """Unite masks into one if that is exact, otherwise return them unchanged."""
    whole = joined(masks)
    return [whole] if whole.step == min(mask.step for mask in masks) else masks


def grown(mask: LocalMask, by_px: int, hw: tuple[int, int]) -> LocalMask:
    """Dilate a mask by a distance in pixels and crop it to an image of size (H, W)."""
    wide = clip(_padded(mask, -(-by_px // mask.step)), hw)
    inside = _distance(~wide.bitmap) * mask.step <= by_px
    return LocalMask.from_dense(inside, wide.row, wide.col, mask.step)


def shrunk(mask: LocalMask, by_px: int) -> LocalMask:
    """Erode a mask by a distance in pixels; the result may be empty."""
    wide = _padded(mask, 1)
    inside = _distance(wide.bitmap) * mask.step > by_px
    return LocalMask.from_dense(inside, wide.row, wide.col, mask.step)


def filled(mask: LocalMask) -> LocalMask:
    """Fill all holes of a mask."""
    return LocalMask(mask.row, mask.col, ndimage.binary_fill_holes(mask.bitmap), mask.step)


def smoothed(mask: LocalMask, radius_px: int, hw: tuple[int, int]) -> LocalMask:
    """Smooth the outline of a mask with a disc-shaped median filter; the result may be empty."""
    radius = max(1, round(radius_px / mask.step)) if radius_px else 0
    wide = clip(_padded(mask, radius), hw)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disc = (np.hypot(y, x) <= radius + 0.5).astype(np.float32)
    from scipy.signal import fftconvolve  # Slow to import.

    # The median of a binary image is 1 where more than half of the disc is 1. The cost of an FFT does not depend on
    # the radius.
    share = fftconvolve(wide.bitmap.astype(np.float32), disc, mode="same")
    return LocalMask.from_dense(share > disc.sum() / 2, wide.row, wide.col, mask.step)


def _padded(mask: LocalMask, by: int) -> LocalMask:
    margin = by * mask.step
    return LocalMask(mask.row - margin, mask.col - margin, np.pad(mask.bitmap, by), mask.step)


def _distance(inside: BoolArray) -> np.ndarray:
    """Return the distance of each True pixel to the nearest False one."""
    if inside.all():
        return np.full(inside.shape, np.inf)
    distance: np.ndarray = ndimage.distance_transform_edt(inside)
    return distance
