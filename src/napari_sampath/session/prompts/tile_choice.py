"""Choose the tiles for prompts, depending on the part of the image in view."""

from __future__ import annotations

import numpy.typing as npt

from ...annotations import Box
from ...geometry import Frame
from ...jobs import Job
from ...tiling import (
    TILE_PX,
    high_resolution_px,
    nearest_first,
    slide_tile_for,
    slide_tile_px,
    slide_tiles_for,
    tile_for,
    tiles_for,
)
from .tile_cache import MAX_TILES, TileFeatures


class View:
    """Chooses the tile for a prompt; zooming in switches to high-resolution tiles once they are encoded.

    A high-resolution tile has half the side length, so the encoder sees small objects, such as nuclei, at twice the
    scale.

    On a slide, the side of the tile is at least half of that of the view, so that a click selects an object of the
    visible size: a gland when zoomed out, a nucleus when zoomed in.

    Args:
        hw: Size (H, W) of the image.
        is_slide: Whether the tiles are those of a slide, see `tiling.slide_tile_for`.
    """

    def __init__(self, hw: tuple[int, int], is_slide: bool = False) -> None:
        self.hw = hw
        self.is_slide = is_slide
        self.tiles: TileFeatures | None = None
        """Tile features of the current model; None without a model."""
        self.box: Box | None = None
        """Part (r0, c0, r1, c1) of the image in view; None if unknown."""

    def tile_for(self, positions_xy: npt.ArrayLike) -> Frame:
        """Choose the tile for a prompt; a high-resolution tile only if it is encoded.

        Args:
            positions_xy: (N, 2) all points and box corners of the prompt, (x, y) in image pixels.

        Raises:
            PromptError: If a position lies outside the image.
        """
        if self.tiles is not None and self.box is not None and self._zoomed_in(self.box):
            frame = self._choose(positions_xy, high_resolution=True)
            if self.tiles.holds(frame):
                return frame
        return self._choose(positions_xy)

    def _choose(self, positions_xy: npt.ArrayLike, high_resolution: bool = False) -> Frame:
        if not self.is_slide:
            return tile_for(self.hw, positions_xy, high_resolution)
        return slide_tile_for(self.hw, positions_xy, self._slide_px(self.box, high_resolution))

    def _slide_px(self, box: Box | None, high_resolution: bool) -> int:
        """Return the side of the smallest tile of a slide for prompts in a view."""
        side = 0 if box is None else max(box[2] - box[0], box[3] - box[1])
        return TILE_PX // 2 if high_resolution else slide_tile_px(side)

    def job(self, box: Box, ahead: int) -> Job[int] | None:
        """Make a job that encodes the tiles for clicks in a box; None if all of them are encoded.

        Args:
            box: (r0, c0, r1, c1) in image pixels.
            ahead: Maximum number of standard tiles, central tiles first. For a small box, its high-resolution tiles
                follow.
        """
        r0, c0, r1, c1 = box
        if self.tiles is None or r0 >= r1 or c0 >= c1:
            return None
        # Limited to the size of the cache, because tiles at the edge of a wide view would evict central tiles.
        standard = self._tiles_of(box)[:MAX_TILES]
        fine: list[Frame] = []
        if self._zoomed_in(box) and self.tiles.quick:
            fine = self._tiles_of(box, high_resolution=True)
        missing = [frame for frame in standard if not self.tiles.holds(frame)][:ahead]
        extra = [frame for frame in fine if not self.tiles.holds(frame)]
        if not missing and not extra:
            return None
        # Touch cached tiles first, so that the LRU keeps them.
        cached = [frame for frame in (*standard, *fine) if self.tiles.holds(frame)]
        return self.tiles.encode_job(cached + missing, extra)

    def _zoomed_in(self, box: Box) -> bool:
        """Return True if a box fits into one high-resolution tile."""
        r0, c0, r1, c1 = box
        side = high_resolution_px(self.hw)
        return side is not None and max(r1 - r0, c1 - c0) <= side

    def _tiles_of(self, box: Box, high_resolution: bool = False) -> list[Frame]:
        """Return the tiles for clicks in a box, central tiles first."""
        r0, c0, r1, c1 = box
        if self.is_slide:
            tiles = slide_tiles_for(self.hw, box, self._slide_px(box, high_resolution))
            return nearest_first(tiles, ((r0 + r1) / 2, (c0 + c1) / 2))
        tiles = tiles_for(self.hw, (c0, r0), (c1, r1), high_resolution)
        return nearest_first(tiles, ((r0 + r1) / 2, (c0 + c1) / 2))
