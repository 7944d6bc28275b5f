"""Tiles on which a head runs; they show as much of the image as the images on which the head was trained.

The encoder enlarges or shrinks each tile to 1,024 px, so the size of a tile decides how large structures appear to the
head. On tiles with four times the side of single images, the Dice of `gland-cnn` falls from 0.94 to 0.91, although it
was trained on mosaics; calling everything gland gives 0.79 (208 validation images of `ebhi_glands`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..tiling import SMALLEST_TILE_PX, TILE_PX, Box, prompt_tiles, tiles

if TYPE_CHECKING:
    from ..geometry import Frame
    from ..heads import LoadedHead

TILE_KEY = "tile_px"
"""Key of the side of the training tiles in `Metadata.data`."""
LARGEST_TILE_PX = 4096
"""Largest side of a tile; nuclei disappear if a tile is shrunk by more than a factor of 4."""
_TRAINED_PX = {"ebhi_glands": 224, "bbbc038_nuclei": 680}
"""Dataset -> longest side of its images, for the shipped heads, whose bundles do not contain it."""
_WHOLE = 1.5
"""An image of at most this many tile sides is one tile, as it was when the head was trained."""


def trained_tile_px(head: LoadedHead) -> int:
    """Return the longest side of the tiles that a head was trained on, in image pixels; 1,024 if unknown."""
    data = head.metadata.data
    side = data.get(TILE_KEY, _TRAINED_PX.get(str(data.get("name"))))
    return side if isinstance(side, int) and 0 < side <= LARGEST_TILE_PX else TILE_PX


def head_tile_px(
    head: LoadedHead, mpp: float | None = None, tile_px: int | None = None, magnification: float = 1.0
) -> int:
    """Choose the side of the tiles on which a head runs.

    Args:
        head: The head.
        mpp: Micrometres per pixel of the image. If it and the scale of the training images are known, tiles show as
            much tissue as those in training; otherwise they have as many pixels.
        tile_px: The side in image pixels, if chosen by the user.
        magnification: Size of the structures in the image compared with those in the training images, in
            addition to a known difference in scale.

    Returns:
        The side in image pixels, 128 to 4,096.

    Raises:
        ConfigError: If `tile_px` is out of range.
    """
    if tile_px is not None:
        return check_tile_px(tile_px)
    side = trained_tile_px(head)
    if mpp is not None and head.metadata.mpp is not None:
        side = round(side * head.metadata.mpp / mpp)
    side = round(side * magnification)
    return min(max(side, SMALLEST_TILE_PX), LARGEST_TILE_PX)


def check_tile_px(tile_px: int) -> int:
    """Return the side of a tile that the user has chosen.

    Raises:
        ConfigError: If it is out of range.
    """
    if not SMALLEST_TILE_PX <= tile_px <= LARGEST_TILE_PX:
        raise ConfigError(
            f"The tile side is {tile_px} px; give a number from {SMALLEST_TILE_PX} to {LARGEST_TILE_PX}."
        )
    return tile_px


def head_tiles(hw: tuple[int, int], tile_px: int, region: Box | None = None) -> list[Frame]:
    """Cover an image of size (H, W) with the tiles of a head, row by row, which overlap by a quarter.

    Args:
        hw: Image size (H, W) in pixels.
        tile_px: Side of a tile in image pixels, from `head_tile_px`.
        region: Return only the tiles that overlap this region (r0, c0, r1, c1) of the image.
    """
    side = max(hw) if max(hw) <= _WHOLE * tile_px else tile_px
    return tiles(hw, side, side // 4, region)


def tiles_for(hw: tuple[int, int], use: str, tile_px: int) -> list[Frame]:
    """List the tiles of an image (H, W) that prompts, heads or both use, without duplicates.

    Args:
        hw: Image size (H, W) in pixels.
        use: "clicks", "heads" or "both".
        tile_px: Side of the tiles of heads in image pixels.
    """
    clicks = prompt_tiles(hw) if use != "heads" else []
    return list(dict.fromkeys([*clicks, *(head_tiles(hw, tile_px) if use != "clicks" else [])]))
