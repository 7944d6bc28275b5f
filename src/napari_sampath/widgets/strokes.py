"""Brush strokes as arrays: what napari painted, and scribbles that become a mask prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.draw import disk, polygon

from ..arrays import LocalMask

if TYPE_CHECKING:
    from collections.abc import Sequence


def stroke_box(atoms: Sequence[Any], hw: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return the box (r0, c0, r1, c1) of a stroke that napari announced.

    Args:
        atoms: Value of a Labels layer's paint event: for each step either an object with `slice_key` (napari
            0.9) or a tuple that begins with index arrays (before).
        hw: Size (H, W) of the layer, the answer if a step is of neither kind.
    """
    boxes = []
    for atom in atoms:
        if hasattr(atom, "slice_key"):
            rows, cols = atom.slice_key[-2:]
            boxes.append((rows.start, cols.start, rows.stop, cols.stop))
        elif isinstance(atom, tuple) and len(atom[0]) == 2:
            row, col = (np.asarray(axis) for axis in atom[0])
            boxes.append((int(row.min()), int(col.min()), int(row.max()) + 1, int(col.max()) + 1))
        else:
            return 0, 0, hw[0], hw[1]
    if not boxes:
        return 0, 0, 0, 0
    array = np.array(boxes)
    r0, c0 = array[:, :2].min(axis=0).tolist()
    r1, c1 = array[:, 2:].max(axis=0).tolist()
    return r0, c0, r1, c1


def lasso_mask(path_xy: Sequence[tuple[float, float]], hw: tuple[int, int]) -> LocalMask:
    """Fill a freehand outline, whose ends are joined.

    Args:
        path_xy: Positions (x, y) in image pixels.
        hw: Size (H, W) of the image; what lies outside is cut off.
    """
    points = np.asarray(path_xy, dtype=np.float64)[:, ::-1]
    low = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1, hw)
    bitmap = np.zeros(tuple(np.maximum(high - low, 0)), dtype=np.bool_)
    if bitmap.size:
        corners = points - low
        bitmap[polygon(corners[:, 0], corners[:, 1], bitmap.shape)] = True
    return LocalMask.from_dense(bitmap, int(low[0]), int(low[1]))


def scribble_mask(path_xy: Sequence[tuple[float, float]], width_px: float, hw: tuple[int, int]) -> LocalMask:
    """Paint a path with a round brush.

    Args:
        path_xy: Positions (x, y) in image pixels.
        width_px: Width of the brush in image pixels.
        hw: Size (H, W) of the image; what lies outside is cut off.
    """
    points = np.asarray(path_xy, dtype=np.float64)[:, ::-1]
    radius = width_px / 2
    low = np.maximum(np.floor(points.min(axis=0) - radius).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0) + radius).astype(int) + 1, hw)
    if (high <= low).any():
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    bitmap = np.zeros(tuple(high - low), dtype=np.bool_)
    for centre in points - low:
        bitmap[disk(tuple(centre), radius, shape=bitmap.shape)] = True
    for first, second in zip(points[:-1] - low, points[1:] - low, strict=True):
        along = second - first
        length = float(np.hypot(*along))
        if length > 0:
            aside = np.array([-along[1], along[0]]) / length * radius
            corners = np.array([first + aside, second + aside, second - aside, first - aside])
            bitmap[polygon(corners[:, 0], corners[:, 1], bitmap.shape)] = True
    return LocalMask.from_dense(bitmap, int(low[0]), int(low[1]))
