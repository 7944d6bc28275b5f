"""Masks to polygons along the edges of their pixels, and polygons of any kind back to masks. Coordinates are (x, y).

Pixel (row i, column j) is the square from (j, i) to (j + 1, i + 1), so that a polygon made here covers the pixels
of its mask exactly, and a mask made from it is the same mask again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from ..arrays import BoolArray, FloatArray, IntArray, LocalMask
from ..rasters import check_pixels

Ring: TypeAlias = npt.NDArray[np.number]
"""(N, 2) corners (x, y) in image pixels; closed: the first is repeated at the end."""
Polygon: TypeAlias = list[Ring]
"""One outer ring, then its holes."""


def trace(mask: LocalMask) -> list[Polygon]:
    """Trace a mask along the edges of its pixels.

    Pixels that touch at a corner only belong to different polygons, and no ring touches itself, so the result is
    valid in the sense of the OGC's simple features. Outer rings turn as RFC 7946 wants, holes the other way.

    Args:
        mask: In image pixels.

    Returns:
        One polygon for each 4-connected piece; int64 rings (N, 2) of (x, y).
    """
    pieces, _ = ndimage.label(mask.bitmap)
    found: list[Polygon] = []
    for number, window in enumerate(ndimage.find_objects(pieces), start=1):
        rows, cols = window
        rings = _rings(pieces[window] == number)
        found.append([ring + np.array([mask.col + cols.start, mask.row + rows.start]) for ring in rings])
    return found


def fill(polygons: Sequence[Sequence[Ring]], hw: tuple[int, int] | None = None) -> LocalMask:
    """Fill polygons: a pixel belongs to the mask if its centre lies in one of them.

    Args:
        polygons: Each a list of closed or open rings (N, 2) of (x, y); within one polygon a point is inside if it is
            inside an odd number of rings, so that holes are holes however they turn.
        hw: Size (H, W) of the image that cuts the mask off; None for no limit but the axes.

    Returns:
        The mask, cropped; empty if no pixel's centre is inside.

    Raises:
        ImageError: If it is larger than fits in memory.
    """
    corners = [np.asarray(ring, dtype=np.float64).reshape(-1, 2) for polygon in polygons for ring in polygon]
    corners = [ring for ring in corners if len(ring)]
    if not corners:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    limit = (np.inf, np.inf) if hw is None else (hw[1], hw[0])
    low = np.maximum(np.floor(np.min([ring.min(axis=0) for ring in corners], axis=0)), 0)
    high = np.minimum(np.ceil(np.max([ring.max(axis=0) for ring in corners], axis=0)), limit)
    if (high <= low).any():
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    (left, top), (width, height) = low.astype(int).tolist(), (high - low).astype(int).tolist()
    check_pixels(height, width, "an object")
    bitmap = np.zeros((height, width), dtype=np.bool_)
    for polygon in polygons:
        bitmap |= _odd(
            [np.asarray(ring, dtype=np.float64).reshape(-1, 2) - low for ring in polygon], bitmap.shape
        )
    return LocalMask.from_dense(bitmap, top, left)


def without_holes(mask: LocalMask) -> Iterator[LocalMask]:
    """Cut a mask into pieces that cover it without overlap and of which none has a hole."""
    pieces, _ = ndimage.label(mask.bitmap)
    for number, window in enumerate(ndimage.find_objects(pieces), start=1):
        piece = pieces[window] == number
        row, col = mask.row + window[0].start, mask.col + window[1].start
        hole = ndimage.binary_fill_holes(piece) & ~piece
        if not hole.any():
            yield LocalMask(row, col, piece)
            continue
        # A cut through the middle of the hole's columns opens it to both sides.
        cut = int(np.median(np.flatnonzero(hole.any(axis=0)))) or 1
        for start, part in ((0, piece[:, :cut]), (cut, piece[:, cut:])):
            yield from without_holes(LocalMask.from_dense(part, row, col + start))


def _odd(rings: list[FloatArray], shape: tuple[int, int]) -> BoolArray:
    """Return the pixels (h, w) whose centres lie inside an odd number of rings."""
    height, width = shape
    crossed = np.zeros((height, width + 1), dtype=np.bool_)
    for ring in rings:
        first, second = ring, np.roll(ring, -1, axis=0)
        down = first[:, 1] <= second[:, 1]
        upper, lower = np.where(down[:, None], first, second), np.where(down[:, None], second, first)
        # Rows whose centres an edge passes; its lower end belongs to the next edge.
        start = np.clip(np.ceil(upper[:, 1] - 0.5), 0, height).astype(np.int64)
        stop = np.clip(np.ceil(lower[:, 1] - 0.5), 0, height).astype(np.int64)
        count = np.maximum(stop - start, 0)
        edge = np.repeat(np.arange(len(ring)), count)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        rows = np.repeat(start, count) + within
        run, rise = (lower - upper)[edge].T
        along = (rows + 0.5 - upper[edge, 1]) / rise
        x = upper[edge, 0] + along * run
        cols = np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)
        np.logical_xor.at(crossed, (rows, cols), True)
    inside: BoolArray = np.logical_xor.accumulate(crossed, axis=1)[:, :-1]
    return inside


def _rings(piece: BoolArray) -> list[IntArray]:
    """Trace a 4-connected piece (h, w); its outer ring first."""
    x, y, across, down = _corners(piece)
    seen = np.zeros(len(x), dtype=np.bool_).tolist()
    places = np.stack([x, y], axis=1)
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
        # Corners come row by row, so a ring is found at its top left one and walked to the right first: as outer
        # rings turn where y points down. The first ring is the outer one.
        ring = places[[*path, start]]
        rings.append(ring[::-1].copy() if rings else ring)
    return rings


def _corners(piece: BoolArray) -> tuple[IntArray, IntArray, list[int], list[int]]:
    """Find the corners of a piece and their partners along horizontal and vertical edges.

    Where two pixels touch at a corner only there are two corners in one place, and edges are paired around the
    pixels that are not of the piece: what is 4-connected then has rings that never touch themselves.
    """
    padded = np.pad(piece, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    diagonal = (upper_left == lower_right) & (upper_right == lower_left) & (upper_left != upper_right)
    odd = upper_left ^ upper_right ^ lower_left ^ lower_right
    y, x = np.nonzero(odd | diagonal)
    twice = diagonal[y, x]
    falling = upper_left[y, x]
    order = np.repeat(np.arange(len(x)), np.where(twice, 2, 1))
    second = np.concatenate(([False], order[1:] == order[:-1]))
    x, y, twice, falling = x[order], y[order], twice[order], falling[order]
    # Of two corners in one place the first has the edge to the left, the second that to the right. Where the piece
    # falls from left to right, the left edge goes on downward and the right one upward.
    rank = np.where(twice & falling, ~second, second)
    vertical = np.lexsort((rank, y, x))
    across, down = np.arange(len(x)) ^ 1, np.empty(len(x), dtype=np.int64)
    down[vertical[0::2]], down[vertical[1::2]] = vertical[1::2], vertical[0::2]
    return x, y, across.tolist(), down.tolist()
