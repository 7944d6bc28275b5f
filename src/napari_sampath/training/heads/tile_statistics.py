"""Statistics of the training tiles of a head, with which images unlike them are recognised."""

from __future__ import annotations

import numpy as np

from ...arrays import IMAGE, Features
from ...predict.foreign.describe import MIN_TISSUE, colours, mean_features, texture, tissue_share
from ...predict.foreign.statistics import MIN_TILES, TrainingStatistics, make_statistics
from .mosaics import Mosaic
from .tiles import TileSet

MAX_TILES = 300
"""Largest number of tiles that are described, spread evenly over the training images."""


def tile_statistics(tiles: TileSet, map_name: str) -> TrainingStatistics | None:
    """Return the statistics of the tiles in their original orientation, without mosaics; None if there are too few.

    Args:
        tiles: The training tiles.
        map_name: The feature map that the head reads first.
    """
    upright = [t for t in tiles.tiles if t.orientation == 0 and not isinstance(t.sample.load, Mosaic)]
    if len(upright) < MIN_TILES:
        return None
    indices = np.unique(np.linspace(0, len(upright) - 1, MAX_TILES).round().astype(int))
    groups, stains, textures, features = [], [], [], []
    for tile in (upright[index] for index in indices):
        pixels = tiles.dataset.read(tile.sample).pixels[tile.window.slices]
        if tissue_share(pixels) < MIN_TISSUE:
            continue
        stains.append(colours(pixels))
        textures.append(texture(pixels))
        groups.append(tile.sample.group)
        if tiles.encodes and map_name != IMAGE:
            features.append(
                mean_features(Features(tiles.features(tile), tile.frame, tiles.model.name), map_name)
            )
    return make_statistics(stains, textures, groups, features, tiles.model.name)
