"""What is in view of an image, and the tiles on which clicks there are answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy.typing as npt

from ...geometry import closer_px, outward, tile_for, tiles_for
from .tile_cache import MAX_TILES

if TYPE_CHECKING:
    from ...annotations import Box
    from ...geometry import Frame
    from ...jobs import Job
    from .tile_cache import TileFeatures


class View:
    """Which tiles answer clicks: the usual ones, or closer ones where the user has zoomed in and they are encoded.

    A closer tile has half the side, so the encoder sees small objects, such as nuclei, at twice the scale.

    Args:
        hw: Size (H, W) of the image.
    """

    def __init__(self, hw: tuple[int, int]) -> None:
        self.hw = hw
        self.tiles: TileFeatures | None = None
        """Those of the model in use."""
        self.box: Box | None = None
        """(r0, c0, r1, c1) of the image pixels in view; None if nobody looks."""

    def tile_for(self, places_xy: npt.ArrayLike) -> Frame:
        """Choose the tile that answers a prompt; a closer one only if nobody has to wait for it.

        Args:
            places_xy: (N, 2) all points and box corners of the prompt, (x, y) in image pixels.

        Raises:
            PromptError: If a point lies outside the image.
        """
        if self.tiles is not None and self.box is not None and self._close(self.box):
            frame = tile_for(self.hw, places_xy, closer=True)
            if self.tiles.holds(frame):
                return frame
        return tile_for(self.hw, places_xy)

    def job(self, box: Box, ahead: int) -> Job[int] | None:
        """Make a job that encodes what clicks into a box need and is not encoded yet; None if nothing is missing.

        Args:
            box: (r0, c0, r1, c1) in image pixels.
            ahead: At most so many usual tiles, those in the middle first; the closer ones, of a small box only, after
                them.
        """
        r0, c0, r1, c1 = box
        if self.tiles is None or r0 >= r1 or c0 >= c1:
            return None
        # No more than are kept, or those at the edge of a wide view would drive out those in its middle.
        usual = self._near(box, closer=False)[:MAX_TILES]
        closer = self._near(box, closer=True) if self._close(box) and self.tiles.quick else []
        missing = [frame for frame in usual if not self.tiles.holds(frame)][:ahead]
        extra = [frame for frame in closer if not self.tiles.holds(frame)]
        if not missing and not extra:
            return None
        # Those that are there cost nothing, and to ask for them first keeps them.
        there = [frame for frame in (*usual, *closer) if self.tiles.holds(frame)]
        return self.tiles.encode_job(there + missing, extra)

    def _close(self, box: Box) -> bool:
        """Say whether a box is small enough for closer tiles."""
        r0, c0, r1, c1 = box
        side = closer_px(self.hw)
        return side is not None and max(r1 - r0, c1 - c0) <= side

    def _near(self, box: Box, closer: bool) -> list[Frame]:
        """List the tiles on which clicks into a box are answered, those in its middle first."""
        r0, c0, r1, c1 = box
        return list(outward(tiles_for(self.hw, (c0, r0), (c1, r1), closer), ((r0 + r1) / 2, (c0 + c1) / 2)))
