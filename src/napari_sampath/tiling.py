"""Tiles: the windows of an image that are encoded, and the tile that answers a prompt."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from .geometry import INPUT_PX, Frame, check_inside

TILE_PX = INPUT_PX
"""Default side of a tile, in image pixels: that of the encoder input, so that tiles are not resized."""
SINGLE_TILE_PX = 1536
"""Longest side of an image that is encoded as one tile, as in SAM; larger images are tiled to keep detail."""
SMALLEST_TILE_PX = 128
"""Smallest side of high-resolution tiles; enlarging by a factor above 8 adds no detail."""
MAX_BITMAP = 2**24
"""Largest number of elements of the bitmap of a mask, 16 MiB; larger masks get a coarser step."""

Box: TypeAlias = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in pixels; r1 and c1 are exclusive."""


def tile_starts(length_px: int, tile_px: int, overlap_px: int) -> list[int]:
    """Place evenly spaced windows of `tile_px` over a length, overlapping by at least `overlap_px`."""
    if length_px <= tile_px:
        return [0]
    count = -(-(length_px - overlap_px) // (tile_px - overlap_px))
    return [round(index * (length_px - tile_px) / (count - 1)) for index in range(count)]


def tiles(
    hw: tuple[int, int], tile_px: int = TILE_PX, overlap_px: int = 256, region: Box | None = None
) -> list[Frame]:
    """Cover an image of size (H, W) with frames, row by row; one frame if it is at most `SINGLE_TILE_PX`.

    Args:
        hw: Image size (H, W) in pixels.
        tile_px: Side of a tile in image pixels; tiles of more than 1024 px are shrunk, smaller ones enlarged. With a
            side below 1024 px, images of at most `SINGLE_TILE_PX` are tiled as well.
        overlap_px: Minimum overlap of neighbours, so that an object cut by one tile is complete in another.
        region: Return only the tiles that overlap this region of the image.
    """
    (height, width), tops, lefts = _lattice(hw, tile_px, overlap_px)
    if region is not None:
        tops = [top for top in tops if top < region[2] and region[0] < top + height]
        lefts = [left for left in lefts if left < region[3] and region[1] < left + width]
    return [Frame(top, left, height, width) for top in tops for left in lefts]


def _lattice(
    hw: tuple[int, int], tile_px: int, overlap_px: int
) -> tuple[tuple[int, int], list[int], list[int]]:
    """Return the size (H, W) of the tiles of an image, their first rows, and their first columns."""
    if max(hw) <= max(tile_px, SINGLE_TILE_PX if tile_px >= INPUT_PX else 0):
        return hw, [0], [0]
    size = min(tile_px, hw[0]), min(tile_px, hw[1])
    return size, tile_starts(hw[0], tile_px, overlap_px), tile_starts(hw[1], tile_px, overlap_px)


def prompt_tiles(hw: tuple[int, int], tile_px: int = TILE_PX) -> list[Frame]:
    """Cover an image of size (H, W) with the tiles for prompts: each overlaps the next by half."""
    return tiles(hw, tile_px, tile_px // 2)


def high_resolution_px(hw: tuple[int, int]) -> int | None:
    """Return the side of high-resolution tiles of an image of size (H, W), half that of its standard tiles.

    Return None if it would be smaller than `SMALLEST_TILE_PX`.
    """
    side = -(-max(hw) // 2) if max(hw) <= SINGLE_TILE_PX else TILE_PX // 2
    return side if side >= SMALLEST_TILE_PX else None


def tile_for(hw: tuple[int, int], points_xy: npt.ArrayLike, high_resolution: bool = False) -> Frame:
    """Choose the tile that answers a prompt: the smallest that is at least twice as wide as the prompt.

    Args:
        hw: Image size (H, W) in pixels.
        points_xy: (N, 2) points and box corners of the prompt, (x, y) in image pixels.
        high_resolution: Start with tiles of half the side, see `high_resolution_px`.

    Raises:
        PromptError: If a point lies outside the image.
    """
    check_inside(hw, points_xy)
    points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    centre, extent = (low + high) / 2, float((high - low).max())
    tile_px = _finest_px(hw, high_resolution)
    while tile_px < max(hw) and extent > tile_px / 2:
        tile_px *= 2
    # Choose along each axis instead of among all tiles: a large image has thousands, and this runs at every mouse move.
    (height, width), tops, lefts = _lattice(hw, tile_px, tile_px // 2)
    top = min(tops, key=lambda start: abs(start - centre[1] + height / 2))
    left = min(lefts, key=lambda start: abs(start - centre[0] + width / 2))
    return Frame(top, left, height, width)


def tiles_for(
    hw: tuple[int, int],
    low_xy: tuple[float, float],
    high_xy: tuple[float, float],
    high_resolution: bool = False,
) -> list[Frame]:
    """List the tiles that `tile_for` chooses for points between two corners (x, y)."""
    # `tile_for` chooses along each axis, so the tiles of the corners enclose all others.
    first, last = (tile_for(hw, [corner], high_resolution) for corner in (low_xy, high_xy))
    tile_px = _finest_px(hw, high_resolution)
    (height, width), tops, lefts = _lattice(hw, tile_px, tile_px // 2)
    return [
        Frame(top, left, height, width)
        for top in tops
        if first.top <= top <= last.top
        for left in lefts
        if first.left <= left <= last.left
    ]


def slide_tile_for(hw: tuple[int, int], points_xy: npt.ArrayLike, tile_px: int = TILE_PX) -> Frame:
    """Choose the tile of a slide that answers a prompt: the smallest that is at least twice as wide as the prompt.

    Tiles of 2,048 px, 4,096 px ... start at multiples of 2, 4 ... pixels, so that they can be read at that step.

    Args:
        hw: Size (H, W) of level 0 in pixels.
        points_xy: (N, 2) points and box corners of the prompt, (x, y) in level-0 pixels.
        tile_px: Side of the smallest tile, a power of two; see `slide_tile_px`.

    Raises:
        PromptError: If a point lies outside the slide.
    """
    check_inside(hw, points_xy)
    points = np.asarray(points_xy, dtype=np.float64).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    while tile_px < max(hw) and float((high - low).max()) > tile_px / 2:
        tile_px *= 2
    x, y = ((low + high) / 2).tolist()
    top, height = _span(hw[0], tile_px, y)
    left, width = _span(hw[1], tile_px, x)
    return Frame(top, left, height, width)


def slide_tiles_for(
    hw: tuple[int, int], box: tuple[int, int, int, int], tile_px: int = TILE_PX
) -> list[Frame]:
    """List the tiles of a side that `slide_tile_for` chooses for points in a box (r0, c0, r1, c1)."""
    spans = [
        sorted({_span(side, tile_px, at) for at in (*range(low, high, tile_px // 4), high)})
        for side, low, high in zip(hw, box[:2], box[2:], strict=True)
    ]
    return [Frame(top, left, height, width) for top, height in spans[0] for left, width in spans[1]]


def slide_tile_px(view_px: int) -> int:
    """Return the side of the tiles for prompts in a view: the smallest from 1,024 px that has half of its side."""
    tile_px = TILE_PX
    while tile_px < view_px / 2:
        tile_px *= 2
    return tile_px


def step_for(box: tuple[int, int, int, int], finest: int = 1) -> int:
    """Return the smallest step at which the bitmap of a box in pixels has at most `MAX_BITMAP` elements."""
    step = finest
    while math.ceil((box[2] - box[0]) / step) * math.ceil((box[3] - box[1]) / step) > MAX_BITMAP:
        step *= 2
    return step


def step_of(frame: Frame) -> int:
    """Return the step at which a tile of a slide is read and answered: the largest that fills the encoder's input."""
    return 1 << max(0, int(math.log2(max(frame.hw) / frame.input_px)))


def _span(length: int, tile_px: int, centre: float) -> tuple[int, int]:
    """Return the start and length of the tile nearest to a position along one axis; tiles overlap by half."""
    if length <= tile_px:
        return 0, length
    step = max(1, tile_px // INPUT_PX)
    last = -(-(length - tile_px) // step) * step
    start = min(round((centre - tile_px / 2) / (tile_px // 2)) * (tile_px // 2), last)
    return max(start, 0), min(tile_px, length - max(start, 0))


def _finest_px(hw: tuple[int, int], high_resolution: bool) -> int:
    return (high_resolution_px(hw) if high_resolution else None) or TILE_PX


def nearest_first(frames: list[Frame], centre_rc: tuple[float, float]) -> list[Frame]:
    """Order tiles by the distance of their centres from (row, col), for example the middle of the view."""
    row, col = centre_rc

    def distance(frame: Frame) -> float:
        return (frame.top + frame.height / 2 - row) ** 2 + (frame.left + frame.width / 2 - col) ** 2

    return sorted(frames, key=distance)
