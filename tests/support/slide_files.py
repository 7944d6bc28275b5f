"""Slides of known pixels, written in every format that can be written without loss, and small blocks of results."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from skimage.data import immunohistochemistry

from napari_sampath.arrays import UInt8Array
from napari_sampath.formats.maps import slide_result
from napari_sampath.images.slides import ArraySlide, Slide, open_slide
from napari_sampath.predict.whole_slide import block_objects

MPP = 0.5


def pyramid() -> list[UInt8Array]:
    """Three levels of tissue, 1,000 x 1,536 px at most: each halves the one before, rounding down."""
    tissue = immunohistochemistry()
    levels = [np.ascontiguousarray(np.tile(tissue, (2, 3, 1))[:1001, :1533])]
    for _ in range(2):
        fine = levels[-1]
        height, width = fine.shape[0] // 2, fine.shape[1] // 2
        blocks = fine[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3)
        levels.append(blocks.mean(axis=(1, 3)).round().astype(np.uint8))
    return levels


def _plain_tiff(folder: Path, levels: list[UInt8Array]) -> Path:
    path = folder / "plain.tif"
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            writer.write(
                level,
                tile=(128, 128),
                photometric="rgb",
                compression="deflate",
                subfiletype=int(number > 0),
                resolution=(1e4 / MPP / 2**number, 1e4 / MPP / 2**number),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def _planar_tiff(folder: Path, levels: list[UInt8Array]) -> Path:
    path = folder / "planar.tif"
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(levels):
            writer.write(
                np.moveaxis(level, -1, 0),
                tile=(128, 128),
                photometric="rgb",
                planarconfig="separate",
                subfiletype=int(number > 0),
                resolution=(1e4 / MPP, 1e4 / MPP),
                resolutionunit="CENTIMETER",
                metadata=None,
            )
    return path


def _ome_tiff(folder: Path, levels: list[UInt8Array]) -> Path:
    path = folder / "pyramid.ome.tif"
    scale = {"PhysicalSizeX": MPP, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": MPP, "PhysicalSizeYUnit": "µm"}
    with tifffile.TiffWriter(path, ome=True) as writer:
        options = {"tile": (128, 128), "photometric": "rgb", "compression": "zstd"}
        writer.write(levels[0], subifds=len(levels) - 1, metadata={"axes": "YXS", **scale}, **options)
        for level in levels[1:]:
            writer.write(level, subfiletype=1, **options)
    return path


def _aperio(folder: Path, levels: list[UInt8Array]) -> Path:
    path = folder / "aperio.svs"
    height, width = levels[0].shape[:2]
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate((levels[0], levels[-1], *levels[1:])):
            # Aperio writes a thumbnail in strips as the second page.
            tiling = {"rowsperstrip": 16} if number == 1 else {"tile": (128, 128)}
            text = (
                f"Aperio Image Library v11\r\n{width}x{height} [0,0 {width}x{height}]|AppMag = 20|MPP = {MPP}"
            )
            writer.write(
                level, photometric="rgb", compression="lzw", description=text, metadata=None, **tiling
            )
    return path


def _strips(folder: Path, levels: list[UInt8Array]) -> Path:
    path = folder / "strips.tif"
    tifffile.imwrite(
        path,
        levels[0],
        photometric="rgb",
        rowsperstrip=50,
        resolution=(1e4 / MPP, 1e4 / MPP),
        resolutionunit="CENTIMETER",
    )
    return path


def _zarr(folder: Path, levels: list[UInt8Array], version: int, channels_first: bool) -> Path:
    path = folder / f"v{version}{'-cyx' if channels_first else '-yxc'}.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)  # type: ignore[arg-type]
    letters = "tcyx" if channels_first else "yxc"
    axes = [
        {"name": letter, "type": {"c": "channel", "t": "time"}.get(letter, "space")}
        | ({"unit": "micrometer"} if letter in "yx" else {})
        for letter in letters
    ]
    datasets = []
    for number, level in enumerate(levels):
        values = np.moveaxis(level, -1, 0)[None] if channels_first else level
        chunks = tuple(min(length, 200) for length in values.shape)
        array = group.create_array(str(number), shape=values.shape, dtype=values.dtype, chunks=chunks)
        array[:] = values
        scale = [MPP * 2**number if letter in "yx" else 1.0 for letter in letters]
        datasets.append(
            {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    multiscales = [{"version": "0.4" if version == 2 else "0.5", "axes": axes, "datasets": datasets}]
    if version == 2:
        group.attrs["multiscales"] = multiscales
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": multiscales}
    return path


WRITERS: dict[str, Callable[[Path, list[UInt8Array]], Path]] = {
    "plain": _plain_tiff,
    "planar": _planar_tiff,
    "ome": _ome_tiff,
    "aperio": _aperio,
    "strips": _strips,
    "zarr 0.4": lambda folder, levels: _zarr(folder, levels, 2, channels_first=True),
    "zarr 0.5": lambda folder, levels: _zarr(folder, levels, 3, channels_first=False),
}
"""Name of a format -> function that writes a pyramid into a folder and returns its path."""

KINDS = [*WRITERS, "arrays"]


def make_slide(kind: str, folder: Path, levels: list[UInt8Array]) -> Slide:
    """Write a slide of one kind and open it; all have the pixels of `levels` and the scale `MPP`."""
    if kind == "arrays":
        return ArraySlide(levels, "arrays", MPP)
    return open_slide(WRITERS[kind](folder, levels))


def write_large_tiff(path: Path, hw: tuple[int, int] = (8300, 8200)) -> Path:
    """Write a tiled TIFF of one colour that is large enough to be annotated as a slide; takes 1 MB."""
    tile = zlib.compress(np.full((1024, 1024, 3), 200, np.uint8).tobytes())
    count = -(-hw[0] // 1024) * -(-hw[1] // 1024)
    tifffile.imwrite(
        path,
        iter([tile] * count),
        shape=(*hw, 3),
        dtype=np.uint8,
        tile=(1024, 1024),
        photometric="rgb",
        compression="zlib",
        metadata=None,
    )
    return path


BIOPSY_HW = (256, 320)
BIOPSY = np.ascontiguousarray(immunohistochemistry()[100:356, 120:440])
"""Tissue of this size."""


def use_small_blocks(
    patch: pytest.MonkeyPatch, block_px: int, levels: int = slide_result.LEVELS, margin_px: int | None = None
) -> None:
    """Divide slides into blocks of this side in this process; `margin_px` is that of the windows of objects."""
    patch.setattr(slide_result, "BLOCK_PX", block_px)
    patch.setattr(slide_result, "LEVELS", levels)
    patch.setattr(slide_result, "CHUNK_PX", block_px >> (levels - 1))
    if margin_px is not None:
        patch.setattr(block_objects, "MARGIN_PX", margin_px)


def program_with_small_blocks(block_px: int) -> str:
    """Return Python that does the same in another process."""
    chunk_px = block_px >> (slide_result.LEVELS - 1)
    return (
        "from napari_sampath.formats.maps import slide_result\n"
        f"slide_result.BLOCK_PX, slide_result.CHUNK_PX = {block_px}, {chunk_px}\n"
    )


def write_biopsy(path: Path) -> Path:
    """Write the tissue as an Aperio slide of 0.5 µm per pixel."""
    text = f"Aperio Image Library v11\r\n{BIOPSY_HW[1]}x{BIOPSY_HW[0]}|AppMag = 20|MPP = 0.5"
    tifffile.imwrite(path, BIOPSY, photometric="rgb", tile=(64, 64), description=text, metadata=None)
    return path
