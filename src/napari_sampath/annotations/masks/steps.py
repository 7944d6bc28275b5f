"""Masks of different steps: convert them, and write them piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...arrays import BoolArray, LocalMask
from ...tiling import step_for
from .masks import Box, bounds, clip, union
from .tiled_map import TiledMap
from .tiles import TILE_PX

PIECE_PX = 2**22
"""Masks of more pixels are written tile by tile; others in one piece, which takes half the memory to undo."""


def mask_of_box(box: Box) -> LocalMask:
    """Return the mask of a box (r0, c0, r1, c1) in pixels; for a large box, that of all elements that it touches."""
    step = step_for(box)
    low = [side // step for side in box[:2]]
    high = [-(-side // step) for side in box[2:]]
    sides = [max(0, stop - start) for start, stop in zip(low, high, strict=True)]
    return LocalMask(low[0] * step, low[1] * step, np.ones(sides, dtype=np.bool_), step)


def at_step(mask: LocalMask, step: int) -> LocalMask:
    """Return a mask at another step."""
    if step == mask.step:
        return mask
    r0, c0, r1, c1 = bounds(mask)
    r0, c0 = r0 // step * step, c0 // step * step
    return LocalMask(r0, c0, mask.window((r0, c0, r1, c1), step), step)


def same_step(masks: Sequence[LocalMask]) -> list[LocalMask]:
    """Return masks at the finest of their steps, or a coarser one if their union would have too large a bitmap."""
    box: Box | None = None
    for mask in masks:
        box = union(box, bounds(mask))
    step = step_for(box or (0, 0, 0, 0), min((mask.step for mask in masks), default=1))
    return [at_step(mask, step) for mask in masks]


def pieces(mask: LocalMask, hw: tuple[int, int]) -> Iterator[tuple[Box, BoolArray | None]]:
    """Divide the part of a mask inside an image of size (H, W) into boxes of pixels.

    A small mask is one piece. A large one is divided along the tiles of label maps: neighbours in a row of tiles that
    are completely in the mask are one piece, and tiles without pixels are left out.

    Yields:
        The box, and its pixels (h, w); None if all of them are in the mask.
    """
    r0, c0, r1, c1 = bounds(mask)
    if mask.step == 1 and (r1 - r0) * (c1 - c0) <= PIECE_PX:
        clipped = clip(mask, hw)
        if clipped.bitmap.any():
            yield bounds(clipped), clipped.bitmap
        return
    r0, c0, r1, c1 = max(r0, 0), max(c0, 0), min(r1, hw[0]), min(c1, hw[1])
    step = mask.step
    for top in range(r0 // TILE_PX * TILE_PX, r1, TILE_PX):
        first, last = max(top, r0), min(top + TILE_PX, r1)
        elements = mask.bitmap[(first - mask.row) // step : -((mask.row - last) // step)]
        every, some = np.asarray(elements.all(axis=0)), np.asarray(elements.any(axis=0))
        run: Box | None = None
        for left in range(c0 // TILE_PX * TILE_PX, c1, TILE_PX):
            box = first, max(left, c0), last, min(left + TILE_PX, c1)
            span = slice((box[1] - mask.col) // step, -((mask.col - box[3]) // step))
            if every[span].all():
                run = box if run is None else (first, run[1], last, box[3])
                continue
            if run is not None:
                yield run, None
                run = None
            if some[span].any():
                yield box, mask.window(box)
        if run is not None:
            yield run, None


def count_where(mask: LocalMask, hw: tuple[int, int], used: Callable[[Box], BoolArray]) -> int:
    """Count the pixels of a mask inside an image of size (H, W) that are True in the array that `used` returns.

    Args:
        mask: A mask of any step.
        hw: Size (H, W) of the image.
        used: Returns (r1 - r0, c1 - c0) bool for a box (r0, c0, r1, c1) inside the image.
    """
    count = 0
    for box, bits in pieces(mask, hw):
        pixels = used(box)
        count += int(np.count_nonzero(pixels if bits is None else pixels & bits))
    return count


def elements_where(mask: LocalMask, hw: tuple[int, int], used: Callable[[Box], BoolArray]) -> BoolArray:
    """Find the elements of a mask with any pixel that is True in the array that `used` returns; see `count_where`.

    Returns:
        Array of the shape of the bitmap; False outside of the mask.
    """
    result = np.zeros(mask.bitmap.shape, dtype=np.bool_)
    for (top, left, bottom, right), _ in pieces(mask, hw):
        found = _any_in_elements(used((top, left, bottom, right)), mask.step)
        row, col = (top - mask.row) // mask.step, (left - mask.col) // mask.step
        result[row : row + found.shape[0], col : col + found.shape[1]] = found
    return result & mask.bitmap


def elements_with(
    mask: LocalMask, labels: TiledMap, predicate: Callable[[npt.NDArray[Any]], BoolArray]
) -> BoolArray:
    """Find the elements of a mask under which any pixel of a label map satisfies a predicate.

    Args:
        mask: A mask; the result is False for elements outside of the map.
        labels: The map.
        predicate: Converts labels to bool; False for the label 0.

    Returns:
        Array of the shape of the bitmap; elements outside of the mask are compared, too.
    """
    result = np.zeros(mask.bitmap.shape, dtype=np.bool_)
    step, (height, width) = mask.step, labels.shape
    r0, c0, r1, c1 = bounds(mask)
    inside = max(r0, 0), max(c0, 0), min(r1, height), min(c1, width)
    for top, left, bottom, right in labels.tiles_in([inside]):
        found = _any_in_elements(predicate(labels.window((top, left, bottom, right))), step)
        row, col = (top - mask.row) // step, (left - mask.col) // step
        result[row : row + found.shape[0], col : col + found.shape[1]] = found
    return result


def _any_in_elements(pixels: BoolArray, step: int) -> BoolArray:
    """Return which elements of step x step pixels contain a True pixel."""
    if step == 1:
        return pixels
    padded = np.pad(pixels, [(0, -side % step) for side in pixels.shape])
    rows, cols = padded.shape[0] // step, padded.shape[1] // step
    return np.asarray(padded.reshape(rows, step, cols, step).any(axis=(1, 3)))
