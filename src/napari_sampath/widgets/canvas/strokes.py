"""Convert napari's brush strokes, scribbles and freehand outlines to arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from skimage.draw import disk, polygon

from ...annotations import Box
from ...arrays import BoolArray, IntArray, LocalMask

MAX_SIDE_PX = 4096
"""Longest side of an outline that is filled pixel by pixel."""


@dataclass(frozen=True)
class Stroke:
    """The pixels that a paint event of napari changes."""

    box: Box
    """Bounding box (r0, c0, r1, c1) of the stroke in pixels."""
    after: IntArray
    """Label values (r1 - r0, c1 - c0) in the box after the stroke."""
    touched: BoolArray
    """Pixels of the stroke, (r1 - r0, c1 - c0) bool."""


def stroke_of(atoms: Sequence[Any], data: IntArray) -> Stroke:
    """Convert a paint event of a Labels layer.

    napari emits the event after it has written a brush stroke, but before it writes a polygon.

    Args:
        atoms: Value of the event: for each step an object with `slice_key`, `mask` and `new_value` (napari 0.9), or a
            tuple of index arrays, old and new values (older napari). If a step has another type, all pixels count as
            changed.
        data: (H, W) data of the layer.
    """
    steps = [_step(atom) for atom in atoms]
    boxes = [box for box, _, _ in steps if box is not None]
    if len(boxes) < len(steps):
        return Stroke((0, 0, *data.shape), data, np.ones(data.shape, dtype=np.bool_))
    array = np.array(boxes or [(0, 0, 0, 0)])
    r0, c0 = array[:, :2].min(axis=0).tolist()
    r1, c1 = array[:, 2:].max(axis=0).tolist()
    after = data[r0:r1, c0:c1].copy()
    touched = np.zeros(after.shape, dtype=np.bool_)
    for (top, left, bottom, right), where, value in steps:
        part = np.s_[top - r0 : bottom - r0, left - c0 : right - c0]
        after[part][where] = value
        touched[part][where] = True
    return Stroke((r0, c0, r1, c1), after, touched)


def _step(atom: Any) -> tuple[Any, Any, Any]:
    """Return the box of a step, its changed pixels, and their new values; three Nones for an unknown type."""
    if hasattr(atom, "slice_key"):
        rows, cols = atom.slice_key[-2:]
        where = ... if atom.mask is None else atom.mask
        return (rows.start, cols.start, rows.stop, cols.stop), where, atom.new_value
    if isinstance(atom, tuple) and len(atom[0]) == 2:
        row, col = (np.asarray(axis) for axis in atom[0])
        top, left = int(row.min()), int(col.min())
        return (top, left, int(row.max()) + 1, int(col.max()) + 1), (row - top, col - left), atom[2]
    return None, None, None


def lasso_mask(path_xy: Sequence[tuple[float, float]], hw: tuple[int, int]) -> LocalMask:
    """Fill a freehand outline, which is closed by a straight line; very large ones at a step above 1.

    Args:
        path_xy: Positions (x, y) in image pixels.
        hw: Size (H, W) of the image; the mask is clipped to it.
    """
    points = np.asarray(path_xy, dtype=np.float64)[:, ::-1]
    step = 1
    while np.ptp(points, axis=0).max() > step * MAX_SIDE_PX:
        step *= 2
    points, hw = (points - (step - 1) / 2) / step, (-(-hw[0] // step), -(-hw[1] // step))
    low = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1, hw)
    bitmap = np.zeros(tuple(np.maximum(high - low, 0)), dtype=np.bool_)
    if bitmap.size:
        corners = points - low
        bitmap[polygon(corners[:, 0], corners[:, 1], bitmap.shape)] = True
    tight = LocalMask.from_dense(bitmap, int(low[0]), int(low[1]))
    return LocalMask(tight.row * step, tight.col * step, tight.bitmap, step)


def scribble_mask(path_xy: Sequence[tuple[float, float]], width_px: float, hw: tuple[int, int]) -> LocalMask:
    """Paint a path with a round brush.

    Args:
        path_xy: Positions (x, y) in image pixels.
        width_px: Width of the brush in image pixels.
        hw: Size (H, W) of the image; the mask is clipped to it.
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
        direction = second - first
        length = float(np.hypot(*direction))
        if length > 0:
            normal = np.array([-direction[1], direction[0]]) / length * radius
            corners = np.array([first + normal, second + normal, second - normal, first - normal])
            bitmap[polygon(corners[:, 0], corners[:, 1], bitmap.shape)] = True
    return LocalMask.from_dense(bitmap, int(low[0]), int(low[1]))
