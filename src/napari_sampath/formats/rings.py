"""Conversion between masks and polygons along pixel edges, in (x, y).

Pixel (row i, column j) is the square from (j, i) to (j + 1, i + 1): a traced polygon covers the pixels of its mask
exactly, and filling it gives the same mask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import BoolArray, FloatArray, IntArray, LocalMask
from ..rasters import check_pixels

Ring: TypeAlias = npt.NDArray[np.number]
"""(N, 2) corners (x, y) in image pixels; the first corner is repeated at the end."""
Polygon: TypeAlias = list[Ring]
"""The outer ring, then the holes."""


_CHUNK = 2**20
"""Crossings of edges with rows that are computed at once."""


def trace(mask: LocalMask) -> list[Polygon]:
    """Trace a mask along the edges of its pixels.

    Pixels that touch only at a corner belong to different polygons, and no ring touches itself, so the result is valid
    as an OGC simple feature. Outer rings have the direction of RFC 7946, holes the opposite one.

    Args:
        mask: In image pixels.

    Returns:
        One polygon for each 4-connected component; int64 rings (N, 2) of (x, y).
    """
    components, _ = ndimage.label(mask.bitmap)
    polygons: list[Polygon] = []
    for number, window in enumerate(ndimage.find_objects(components), start=1):
        rows, cols = window
        rings = _rings(components[window] == number)
        start = np.array([cols.start, rows.start])
        polygons.append([(ring + start) * mask.step + np.array([mask.col, mask.row]) for ring in rings])
    return polygons


def bounds(polygons: Iterable[Iterable[Ring]]) -> tuple[float, float, float, float] | None:
    """Return the bounding box (x0, y0, x1, y1) of all corners of some polygons; None if there are none."""
    corners = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for polygon in polygons for ring in polygon]
    corners = [ring for ring in corners if len(ring)]
    if not corners:
        return None
    low = np.min([ring.min(axis=0) for ring in corners], axis=0)
    high = np.max([ring.max(axis=0) for ring in corners], axis=0)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def crossings(polygons: Iterable[Iterable[Ring]], height: float) -> float:
    """Return the total number of crossings of polygon edges with image rows, which is the work of `fill`."""
    total = 0.0
    for polygon in polygons:
        for ring in polygon:
            y = np.clip(np.asarray(ring, dtype=np.float64).reshape(-1, 2)[:, 1], 0, height)
            total += float(np.abs(y - np.roll(y, 1)).sum()) + len(y)
    return total


def fill(polygons: Sequence[Sequence[Ring]], hw: tuple[int, int] | None = None) -> LocalMask:
    """Convert polygons to the mask of the pixels whose centres lie inside one of them.

    Args:
        polygons: Lists of closed or open rings (N, 2) of (x, y). A point is inside a polygon if it is inside an odd
            number of its rings, so holes may have any direction.
        hw: Size (H, W) of the image, to which the mask is clipped; None to clip only at the left and top edges.

    Returns:
        The mask, cropped to its bounding box; empty if no pixel centre is inside.

    Raises:
        ImageError: If the mask does not fit in memory.
    """
    box = bounds(polygons)
    if box is None:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    limit = (np.inf, np.inf) if hw is None else (hw[1], hw[0])
    low = np.maximum(np.floor(box[:2]), 0)
    high = np.minimum(np.ceil(box[2:]), limit)
    if (high <= low).any():
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    (left, top), (width, height) = low.astype(int).tolist(), (high - low).astype(int).tolist()
    check_pixels(height, width, "an object")
    bitmap = np.zeros((height, width), dtype=np.bool_)
    for polygon in polygons:
        # Fill each polygon in its own box, because an object may have thousands of small parts.
        part = bounds([polygon])
        if part is None:
            continue
        first = np.clip(np.floor(part[:2]) - low, 0, (width, height)).astype(int)
        last = np.clip(np.ceil(part[2:]) - low, 0, (width, height)).astype(int)
        if (last > first).all():
            moved = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) - low - first for ring in polygon]
            window = bitmap[first[1] : last[1], first[0] : last[0]]
            window |= _fill_even_odd(moved, window.shape)
    return LocalMask.from_dense(bitmap, top, left)


def without_holes(mask: LocalMask) -> Iterator[LocalMask]:
    """Cut a mask into disjoint parts without holes."""
    components, _ = ndimage.label(mask.bitmap)
    for number, window in enumerate(ndimage.find_objects(components), start=1):
        component = components[window] == number
        row, col = mask.row + window[0].start, mask.col + window[1].start
        holes = ndimage.binary_fill_holes(component) & ~component
        if not holes.any():
            yield LocalMask(row, col, component)
            continue
        # Cut through the middle column of the holes.
        cut = int(np.median(np.flatnonzero(holes.any(axis=0)))) or 1
        for start, part in ((0, component[:, :cut]), (cut, component[:, cut:])):
            yield from without_holes(LocalMask.from_dense(part, row, col + start))


def _fill_even_odd(rings: list[FloatArray], shape: tuple[int, int]) -> BoolArray:
    """Return the pixels (h, w) whose centres lie inside an odd number of rings (even-odd rule)."""
    height, width = shape
    # The number of crossings left of each pixel, modulo 256, of which only the last bit counts.
    crossed = np.zeros(height * (width + 1), dtype=np.uint8)
    for ring in rings:
        first, second = ring, np.roll(ring, -1, axis=0)
        down = first[:, 1] <= second[:, 1]
        upper, lower = np.where(down[:, None], first, second), np.where(down[:, None], second, first)
        # Find the rows whose centres each edge crosses; its lower end belongs to the next edge.
        start = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
        stop = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
        count = np.maximum(stop - start, 0)
        for edges in _chunks(count):
            np.add.at(
                crossed, _crossed_pixels(upper[edges], lower[edges], start[edges], count[edges], width), 1
            )
    left = crossed.reshape(height, width + 1)
    np.add.accumulate(left, axis=1, dtype=np.uint8, out=left)
    inside: BoolArray = (left & 1).view(np.bool_)[:, :-1]
    return inside


def _chunks(count: IntArray) -> Iterator[slice]:
    """Divide edges, each of which crosses `count` rows, into chunks whose arrays stay small."""
    done = np.cumsum(count)
    first = 0
    while first < len(count):
        before = done[first - 1] if first else 0
        stop = max(int(np.searchsorted(done, before + _CHUNK, side="right")), first + 1)
        yield slice(first, stop)
        first = stop


def _crossed_pixels(
    upper: FloatArray, lower: FloatArray, start: IntArray, count: IntArray, width: int
) -> IntArray:
    """Return the pixel to the right of each crossing of an edge with the centre of a row.

    Args:
        upper: (E, 2) upper ends (x, y) of the edges.
        lower: (E, 2) lower ends.
        start: (E,) first row that each edge crosses.
        count: (E,) number of rows that it crosses.
        width: Width w of the area; a crossing right of it gives column w.

    Returns:
        (N,) row * (w + 1) + column.
    """
    # List the crossings of all edges: edge number and row.
    edge = np.repeat(np.arange(len(count)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    rows = np.repeat(start, count) + within
    # Compute the column of each crossing.
    run, rise = (lower - upper)[edge].T
    along = (rows + 0.5 - upper[edge, 1]) / rise
    x = upper[edge, 0] + along * run
    pixels: IntArray = rows * (width + 1) + np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
    return pixels


def _rings(component: BoolArray) -> list[IntArray]:
    """Trace a 4-connected component (h, w) as rings, the outer ring first."""
    x, y, across, down = _corners(component)
    seen = np.zeros(len(x), dtype=np.bool_).tolist()
    points = np.stack([x, y], axis=1)
    rings: list[IntArray] = []
    for start in range(len(seen)):
        if seen[start]:
            continue
        path, corner = [], start
        while not seen[corner]:
            other = across[corner]
            seen[corner] = seen[other] = True
            path += [corner, other]
            corner = down[other]
        # Corners are sorted by row, so each ring starts at its top left corner and first goes right, which is the
        # direction of outer rings if y points down. The first ring is the outer one.
        ring = points[[*path, start]]
        rings.append(ring[::-1].copy() if rings else ring)
    return rings


def _corners(component: BoolArray) -> tuple[IntArray, IntArray, list[int], list[int]]:
    """Find the corners of a component and connect them along horizontal and vertical edges.

    Where two pixels touch only diagonally, two corners lie at the same position, and edges are paired around the
    background pixels, so that the rings of a 4-connected component never touch themselves.

    Returns:
        x and y of the corners, and for each corner the index of the corner at the other end of its horizontal edge and
        of its vertical edge.
    """
    # At a corner, one or three of the four surrounding pixels are set, or two diagonal ones.
    padded = np.pad(component, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    diagonal = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    odd = upper_left ^ upper_right ^ lower_left ^ lower_right
    y, x = np.nonzero(odd | diagonal)
    is_double = diagonal[y, x]
    falling = upper_left[y, x]
    # Count diagonal corners twice.
    order = np.repeat(np.arange(len(x)), np.where(is_double, 2, 1))
    second = np.concatenate(([False], order[1:] == order[:-1]))
    x, y, is_double, falling = x[order], y[order], is_double[order], falling[order]
    # Of two corners at the same position, the first ends the left edge and the second starts the right edge. If the set
    # pixels lie on the falling diagonal, the left edge continues downward and the right edge upward.
    rank = np.where(is_double & falling, ~second, second)
    vertical = np.lexsort((rank, y, x))
    # Consecutive corners along a row, or along a column, are the ends of an edge.
    across, down = np.arange(len(x)) ^ 1, np.empty(len(x), dtype=np.int64)
    down[vertical[0::2]], down[vertical[1::2]] = vertical[1::2], vertical[0::2]
    return x, y, across.tolist(), down.tolist()
