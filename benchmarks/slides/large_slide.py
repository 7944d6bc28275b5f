"""A slide of 100,352 x 100,352 px, made of the repeated tiles of a small one."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from napari_sampath.images.slides import open_slide

SIDE_PX = 100_352
TILE_PX = 256
_LEVELS = 8
_DISTINCT = 512
"""Distinct encoded tiles per level; encoding all would take an hour."""


def write_large_slide(
    source: Path, target: Path, side_px: int = SIDE_PX, levels: int = _LEVELS, height_px: int | None = None
) -> None:
    """Write a tiled JPEG pyramid; each level repeats tiles cut from the small slide at that scale.

    Args:
        source: The small slide.
        target: The TIFF file to write.
        side_px: Width of level 0 in pixels.
        levels: Number of levels, each half as large as the one before.
        height_px: Height of level 0 in pixels; its width if left out.
    """
    with open_slide(source) as slide:
        tissue = slide.read((0, 0, *slide.hw))
    with tifffile.TiffWriter(target, bigtiff=True) as writer:
        for number in range(levels):
            height, width = (height_px or side_px) >> number, side_px >> number
            writer.write(
                _tiles(tissue, number, height, width),
                shape=(height, width, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="ycbcr",
                compression="jpeg",
                subfiletype=int(number > 0),
                resolution=(20_000 / 2**number, 20_000 / 2**number),
                resolutionunit="CENTIMETER",
                metadata=None,
            )


def _tiles(tissue: np.ndarray, level: int, height_px: int, width_px: int) -> Iterator[bytes]:
    """Yield the encoded tiles of a level, row by row."""
    size = tissue.shape[1] >> level, tissue.shape[0] >> level
    scaled = np.asarray(Image.fromarray(tissue).resize(size, Image.Resampling.BOX))
    # Repeat the tissue until a tile fits
    repeats = math.ceil(2 * TILE_PX / size[1]), math.ceil(2 * TILE_PX / size[0]), 1
    scaled = np.tile(scaled, repeats)
    rows, cols = scaled.shape[0] // TILE_PX, scaled.shape[1] // TILE_PX
    encoded = [
        imagecodecs.jpeg_encode(
            np.ascontiguousarray(scaled[row * TILE_PX :, col * TILE_PX :][:TILE_PX, :TILE_PX]),
            level=80,
            colorspace="rgb",
            outcolorspace="ycbcr",
        )
        for row in range(rows)
        for col in range(cols)
    ][:_DISTINCT]
    count = math.ceil(height_px / TILE_PX) * math.ceil(width_px / TILE_PX)
    return islice(cycle(encoded), count)
