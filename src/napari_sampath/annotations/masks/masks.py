"""Masks cut to the image, and made of lists of pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from ...arrays import BoolArray, FloatArray, IntArray, LocalMask


def clip(mask: LocalMask, hw: tuple[int, int]) -> LocalMask:
    """Cut off what lies outside an image of size (H, W)."""
    height, width = mask.bitmap.shape
    top, left = max(0, -mask.row), max(0, -mask.col)
    bottom, right = min(height, hw[0] - mask.row), min(width, hw[1] - mask.col)
    if (top, left, bottom, right) == (0, 0, height, width):
        return mask
    if bottom <= top or right <= left:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    return LocalMask(mask.row + top, mask.col + left, mask.bitmap[top:bottom, left:right])


def mask_of_pixels(rows: npt.ArrayLike, cols: npt.ArrayLike, hw: tuple[int, int]) -> LocalMask:
    """Turn lists of pixels (rows, cols), in any order and repeated or not, into a mask.

    Args:
        rows: (N,) rows; pixels outside an image of size (H, W) are left out.
        cols: (N,) columns.
        hw: Image size.
    """
    row_ids: IntArray = np.asarray(rows, dtype=np.int64).reshape(-1)
    col_ids: IntArray = np.asarray(cols, dtype=np.int64).reshape(-1)
    inside: BoolArray = (row_ids >= 0) & (row_ids < hw[0]) & (col_ids >= 0) & (col_ids < hw[1])
    row_ids, col_ids = row_ids[inside], col_ids[inside]
    if row_ids.size == 0:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    row, col = int(row_ids.min()), int(col_ids.min())
    bitmap = np.zeros((int(row_ids.max()) - row + 1, int(col_ids.max()) - col + 1), dtype=np.bool_)
    bitmap[row_ids - row, col_ids - col] = True
    return LocalMask(row, col, bitmap)


def depth(bitmap: BoolArray) -> FloatArray:
    """Return how far each pixel of a bitmap (h, w) lies from its edge, in pixels; where the bitmap ends is an edge."""
    inside: FloatArray = distance_transform_edt(np.pad(bitmap, 1))[1:-1, 1:-1]
    return inside


def innermost(mask: LocalMask) -> tuple[float, float]:
    """Return the centre (x, y), in image pixels, of the pixel of a non-empty mask farthest from its edge."""
    row, col = np.unravel_index(int(np.argmax(depth(mask.bitmap))), mask.bitmap.shape)
    return mask.col + float(col) + 0.5, mask.row + float(row) + 0.5
