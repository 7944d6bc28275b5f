"""Compare tiles of an image with the training images of a head, and say in one sentence what differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import Features, FloatArray, UInt8Array
from ...geometry import Frame
from ..head_tiles import head_tile_px, head_tiles
from .describe import MIN_TISSUE, colours, mean_features, mean_octave, texture, tissue_share
from .statistics import Normal, TrainingStatistics, statistics_of

if TYPE_CHECKING:
    from ...heads import LoadedHead

TILES = 9
"""Largest number of tiles that are compared, spread over the image."""
OCTAVES_APART = 0.3
"""Minimum difference in the mean band of the texture at which structures are called larger or smaller."""
_MEAN_CHANNELS = slice(0, 3)
"""The mean optical densities in `describe.colours`."""
_BRIGHTER = 0.1
"""Minimum difference of their logarithms at which a stain is called paler or darker."""


@dataclass(slots=True)
class Comparison:
    """Collects the descriptions of tiles of one image.

    An image differs in its colours, its texture or its features if most of its tiles with tissue are further from the
    training images than these usually are from each other.
    """

    head: str
    """Name of the head."""
    statistics: TrainingStatistics
    map_name: str
    """Name of the feature map that the head reads first."""
    _colours: list[FloatArray] = field(default_factory=list)
    _textures: list[FloatArray] = field(default_factory=list)
    _features: list[FloatArray] = field(default_factory=list)

    def add(self, pixels: UInt8Array, features: Features | None = None) -> None:
        """Add a tile, unless it shows hardly any tissue.

        Args:
            pixels: (h, w, 3) uint8, the window of the tile.
            features: Its features, if it is encoded.
        """
        if pixels.size == 0 or tissue_share(pixels) < MIN_TISSUE:
            return
        self._colours.append(colours(pixels))
        self._textures.append(texture(pixels))
        normal = self.statistics.features
        if features is not None and normal is not None and self.map_name in features.maps:
            described = mean_features(features, self.map_name)
            if len(described) == len(normal.mean):
                self._features.append(described)

    @property
    def sentence(self) -> str:
        """What differs, one sentence; empty if nothing does or if no tile shows tissue."""
        statistics, found = self.statistics, []
        if _differs(statistics.texture, self._textures):
            found.append(self._scale())
        if _differs(statistics.colours, self._colours):
            found.append(self._stain())
        if statistics.features is not None and _differs(statistics.features, self._features):
            found.append("the tissue is unlike anything that it was trained on")
        if not found:
            return ""
        what = found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
        return f"'{self.head}' was trained on images unlike this one: {what}; check its result before you use it."

    def _scale(self) -> str:
        usual = mean_octave(np.array(self.statistics.texture.mean))
        here = float(np.median([mean_octave(described) for described in self._textures]))
        if abs(here - usual) < OCTAVES_APART:
            return "structures are sharper or more blurred here"
        return f"structures are {'larger' if here > usual else 'smaller'} here, so the scale may differ"

    def _stain(self) -> str:
        usual = np.array(self.statistics.colours.mean)[_MEAN_CHANNELS].mean()
        here = float(np.median([described[_MEAN_CHANNELS].mean() for described in self._colours]))
        if abs(here - usual) < _BRIGHTER:
            return "the stain has other colours"
        return f"the stain is {'darker' if here > usual else 'paler'}"


def _differs(normal: Normal, described: Sequence[FloatArray]) -> bool:
    """Return True if most descriptions are beyond the limit."""
    beyond = [normal.distance(values) > normal.limit for values in described]
    return bool(beyond) and sum(beyond) * 2 > len(beyond)


def start_comparison(head: LoadedHead) -> Comparison | None:
    """Return an empty comparison with the training images of a head; None if its bundle has no statistics."""
    statistics = statistics_of(head)
    return None if statistics is None else Comparison(head.name, statistics, head.head.spec.maps[0].name)


def compared_frames(frames: Sequence[Frame]) -> list[Frame]:
    """Choose the tiles to compare, spread evenly."""
    if len(frames) <= TILES:
        return list(frames)
    return [frames[int(index)] for index in np.linspace(0, len(frames) - 1, TILES)]


def check_image(
    image: Any,
    head: LoadedHead,
    region: tuple[int, int, int, int] | None = None,
    mpp: float | None = None,
    tile_px: int | None = None,
) -> str:
    """Say before a head runs how an image differs from its training images, from a few tiles and without an encoder.

    Args:
        image: (H, W, 3) uint8 RGB, or a slide.
        head: The head.
        region: Only this region (r0, c0, r1, c1).
        mpp: Micrometres per pixel of the image; None if unknown.
        tile_px: See `segment`.

    Returns:
        One sentence; empty if nothing differs, or if the bundle has no statistics.
    """
    comparison = start_comparison(head)
    if comparison is None:
        return ""
    r0, c0, r1, c1 = region or (0, 0, int(image.shape[0]), int(image.shape[1]))
    frames = head_tiles((r1 - r0, c1 - c0), head_tile_px(head, mpp, tile_px))
    for frame in compared_frames(frames):
        rows, cols = frame.slices
        comparison.add(np.asarray(image[rows.start + r0 : rows.stop + r0, cols.start + c0 : cols.stop + c0]))
    return comparison.sentence
