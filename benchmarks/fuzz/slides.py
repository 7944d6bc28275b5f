"""Small slides: OME-Zarr images of both versions, and pyramids in TIFF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

_LEVELS = 2


def write_slides(pixels: Any, folder: Path) -> None:
    """Write an image (H, W, 3) uint8 as slides."""
    import numcodecs
    import tifffile
    import zarr
    from zarr.codecs import BloscCodec, GzipCodec

    levels = [pixels[:: 2**number, :: 2**number] for number in range(_LEVELS)]
    layouts: dict[str, tuple[Any, str, dict[str, Any]]] = {
        "v2": (2, "tcyx", {"compressors": numcodecs.Blosc("zstd")}),
        "v2-zlib": (2, "yxc", {"compressors": numcodecs.Zlib(), "order": "F"}),
        "v3": (3, "yxc", {"compressors": GzipCodec()}),
        "v3-shards": (3, "cyx", {"compressors": BloscCodec(), "shards": (3, 64, 64)}),
    }
    for name, (version, axes, options) in layouts.items():
        group = zarr.open_group(folder / f"{name}.ome.zarr", mode="w", zarr_format=version)
        for number, level in enumerate(levels):
            values = level if axes == "yxc" else np.moveaxis(level, -1, 0)
            values = values[None] if axes == "tcyx" else values
            chunks = tuple(
                min(32, side) if axis in "yx" else side for axis, side in zip(axes, values.shape, strict=True)
            )
            array = group.create_array(
                str(number), shape=values.shape, dtype="uint8", chunks=chunks, **options
            )
            array[:] = values
        datasets = [{"path": str(number)} for number in range(_LEVELS)]
        multiscales = [{"axes": [{"name": axis} for axis in axes], "datasets": datasets}]
        content = {"multiscales": multiscales}
        group.attrs.update(content if version == 2 else {"ome": {"version": "0.5", **content}})
    with tifffile.TiffWriter(folder / "pyramid.tif") as tiff:
        for number, level in enumerate(levels):
            tiff.write(level, tile=(32, 32), subifds=_LEVELS - 1 if number == 0 else 0, photometric="rgb")


def read_slide(path: Path) -> None:
    """Read all levels of a slide, a window of it, and its identity."""
    from napari_sampath.images.slides import open_slide

    with open_slide(path) as slide:
        for number, level in enumerate(slide.levels):
            slide.read_level(number, (0, 0, min(level.hw[0], 512), min(level.hw[1], 512)))
        slide.read((0, 0, min(slide.hw[0], 99), min(slide.hw[1], 99)), 2)
        _ = slide.digest, slide.mpp, slide.remarks
