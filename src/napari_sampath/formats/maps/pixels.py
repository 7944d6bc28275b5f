"""Writing label maps as indexed PNG and as TIFF, tile by tile if a map is not in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile
from PIL import Image

from ..labels import MapLike

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...arrays import ClassInfo
    from ...files import Write

PNG_IDS = 2**16 - 1
"""Largest number that a 16-bit PNG can store."""
_TILE_PX = 512
_BIG_BYTES = 2**31
"""Size in bytes from which a BigTIFF is written."""


def writers(
    format_name: str, class_map: MapLike, instance_map: MapLike, highest: int, classes: Sequence[ClassInfo]
) -> tuple[Write, Write]:
    """Return the functions that write the class map and the instance map in one format.

    Args:
        format_name: "png" or "tiff".
        class_map: (H, W) 0..255.
        instance_map: (H, W) 0..`highest`.
        highest: Highest number in the instance map.
        classes: Classes whose colours are the palette of a PNG.
    """
    if format_name == "png":
        indexed = partial(write_palette, values=class_map, classes=classes)
        return indexed, partial(write_png, values=instance_map, dtype=np.uint16)
    dtype = np.uint16 if highest <= PNG_IDS else np.uint32
    return (
        partial(write_tiff, values=class_map, dtype=np.uint8),
        partial(write_tiff, values=instance_map, dtype=dtype),
    )


def write_palette(stream: BinaryIO, values: MapLike, classes: Sequence[ClassInfo]) -> None:
    """Write class ids (H, W) as an indexed PNG with the class colours as palette; 0 is transparent."""
    # Use all 256 entries: Pillow packs images with shorter palettes into 1, 2 or 4 bits, which few programs read.
    palette = np.zeros((256, 3), dtype=np.uint8)
    for info in classes:
        if info.id:
            palette[info.id] = info.color
    image = Image.fromarray(np.asarray(values[:]))
    image.putpalette(palette.tobytes())
    image.save(stream, format="PNG", transparency=0)


def write_png(stream: BinaryIO, values: MapLike, dtype: npt.DTypeLike | None = None) -> None:
    """Write a map (H, W) of 1, 8 or 16 bits as a PNG, converted to `dtype` if given."""
    pixels = np.asarray(values[:])
    Image.fromarray(pixels if dtype is None else pixels.astype(dtype)).save(stream, format="PNG")


def write_tiff(stream: BinaryIO, values: MapLike, dtype: npt.DTypeLike) -> None:
    """Write a map (H, W) as a losslessly compressed TIFF, tile by tile if it is not in memory."""
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
    if isinstance(values, np.ndarray):
        tifffile.imwrite(stream, values.astype(dtype, copy=False), **options)
        return
    height, width = values.shape
    tiles = (
        np.asarray(values[top : top + _TILE_PX, left : left + _TILE_PX]).astype(dtype)
        for top in range(0, height, _TILE_PX)
        for left in range(0, width, _TILE_PX)
    )
    big = height * width * np.dtype(dtype).itemsize > _BIG_BYTES
    shape = {"shape": (height, width), "dtype": dtype, "tile": (_TILE_PX, _TILE_PX), "bigtiff": big}
    tifffile.imwrite(stream, tiles, **shape, **options)
