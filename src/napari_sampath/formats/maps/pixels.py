"""Writing label maps as indexed PNG and as TIFF, tile by tile if a map is not in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile
from PIL import Image

from ..labels import MapLike, blocks

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...arrays import ClassInfo
    from ...files import Write

PNG_IDS = 2**16 - 1
"""Largest number that a 16-bit PNG can store."""
_TILE_PX = 512
_BIG_BYTES = 2**31
"""Size in bytes from which a BigTIFF is written."""
_PYRAMID_PX, _COARSEST_PX, _MAX_STEP = 8192, 1024, 256
"""Maps with a longer side than the first get levels, down to one of the second, at most reduced by the third."""


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
    """Write a map (H, W) as a losslessly compressed TIFF, tile by tile if it is not in memory.

    A map of a slide gets coarser levels, in which a pixel is labelled if an eighth of its area is.
    """
    options: dict[str, Any] = {"photometric": "minisblack", "compression": "zlib", "metadata": None}
    if isinstance(values, np.ndarray):
        tifffile.imwrite(stream, values.astype(dtype, copy=False), **options)
        return
    big = values.shape[0] * values.shape[1] * np.dtype(dtype).itemsize > _BIG_BYTES
    with tifffile.TiffWriter(stream, bigtiff=big) as file:
        for step in _steps(values):
            hw = tuple(-(-side // step) for side in values.shape)
            # Readers take the reduced pages as coarser levels of the first.
            file.write(
                _tiles(values, dtype, step),
                shape=hw,
                dtype=dtype,
                tile=(_TILE_PX, _TILE_PX),
                subfiletype=int(step > 1),
                **options,
            )


def _steps(values: MapLike) -> list[int]:
    """Return the steps of the levels of a pyramid, down to one of at most 1,024 px; 1 alone if the map is small."""
    steps = [1]
    if hasattr(values, "read") and max(values.shape) > _PYRAMID_PX:
        while max(values.shape) / steps[-1] > _COARSEST_PX and steps[-1] < _MAX_STEP:
            steps.append(steps[-1] * 2)
    return steps


def _tiles(values: Any, dtype: npt.DTypeLike, step: int) -> Iterator[bytes]:
    """Yield the compressed tiles of a level, row by row; tiles without labels are compressed once."""
    height, width = values.shape
    side = _TILE_PX * step
    filled = {
        (row, col)
        for r0, c0, r1, c1 in blocks(values)
        for row in range(r0 // side, (r1 - 1) // side + 1)
        for col in range(c0 // side, (c1 - 1) // side + 1)
    }
    tile = np.zeros((_TILE_PX, _TILE_PX), dtype=dtype)
    empty = zlib.compress(tile.tobytes())
    for row in range(-(-height // side)):
        for col in range(-(-width // side)):
            if (row, col) not in filled:
                yield empty
                continue
            r0, c0 = row * side, col * side
            r1, c1 = min(r0 + side, height), min(c0 + side, width)
            part = np.asarray(values[r0:r1, c0:c1] if step == 1 else values.read((r0, c0, r1, c1), step))
            tile[:] = 0
            tile[: part.shape[0], : part.shape[1]] = part
            yield zlib.compress(tile.tobytes())
