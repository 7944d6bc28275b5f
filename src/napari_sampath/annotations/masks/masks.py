"""Masks and their bounding boxes."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from ...arrays import BoolArray, FloatArray, IntArray, LocalMask

Box: TypeAlias = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in image pixels, end exclusive."""


def bounds(mask: LocalMask) -> Box:
    """Return the bounding box of a mask."""
    rows, cols = mask.slices
    return rows.start, cols.start, rows.stop, cols.stop


def union(first: Box | None, second: Box | None) -> Box | None:
    """Return the smallest box that contains both boxes; None is an empty box."""
    if first is None or second is None:
        return second if first is None else first
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


def clip(mask: LocalMask, hw: tuple[int, int]) -> LocalMask:
    """Crop a mask to the elements of its bitmap that lie in an image of size (H, W)."""
    (height, width), step = mask.bitmap.shape, mask.step
    top, left = max(0, -mask.row // step), max(0, -mask.col // step)
    bottom, right = min(height, -((mask.row - hw[0]) // step)), min(width, -((mask.col - hw[1]) // step))
    if (top, left, bottom, right) == (0, 0, height, width):
        return mask
    if bottom <= top or right <= left:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_), step)
    bitmap = mask.bitmap[top:bottom, left:right]
    return LocalMask(mask.row + top * step, mask.col + left * step, bitmap, step)


def mask_of_pixels(rows: npt.ArrayLike, cols: npt.ArrayLike, hw: tuple[int, int]) -> LocalMask:
    """Build a mask from pixel coordinates, in any order; duplicates are allowed.

    Args:
        rows: (N,) rows; pixels outside the image are ignored.
        cols: (N,) columns.
        hw: Size (H, W) of the image in pixels.
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
    """Return the distance in pixels from each pixel of a bitmap (h, w) to the nearest pixel outside the mask."""
    inside: FloatArray = np.zeros(bitmap.shape)
    # Transform only the bounding box, because a whole image takes a second.
    local = LocalMask.from_dense(bitmap)
    inside[local.slices] = distance_transform_edt(np.pad(local.bitmap, 1))[1:-1, 1:-1]
    return inside


def innermost(mask: LocalMask) -> tuple[float, float]:
    """Return the centre (x, y) of the pixel farthest from the edge of a non-empty mask, in image pixels."""
    row, col = np.unravel_index(int(np.argmax(depth(mask.bitmap))), mask.bitmap.shape)
    return mask.col + (float(col) + 0.5) * mask.step, mask.row + (float(row) + 0.5) * mask.step
