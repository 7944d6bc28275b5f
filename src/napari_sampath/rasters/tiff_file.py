"""Read TIFF files with tifffile."""

from __future__ import annotations

import logging
import math
import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile

from ..errors import ImageError
from . import orientation
from .pixel_size import mpp_of_tiff
from .raster import Raster, RasterFile, check_pixels
from .tiff_colours import UnknownColoursError, has_alpha, palette_of, visible
from .tiff_structure import check_description, check_structure

if TYPE_CHECKING:
    import numpy.typing as npt

# tifffile logs what it finds damaged; without a handler, Python would print that on the terminal.
logging.getLogger("tifffile").addHandler(logging.NullHandler())

_LOSSLESS = (1, 2, 3, 4, 5, 8, 32771, 32773, 32946, 34925, 34933, 50000)
"""Compressions that keep values: none, CCITT, LZW, deflate, PackBits, LZMA, PNG, Zstandard; others may alter them."""
_MAX_CHANNELS = 4
_PLANES = {"Z": "slices", "T": "time points", "I": "pages"}
"""Axis -> what lies along it."""
_OTHER_PROGRAMS = {
    f"is_{kind}": False for kind in ("mmstack", "ndtiff", "lsm", "stk", "eer", "scanimage", "fluoview")
}
"""Kinds of stacks that tifffile would read from other files or by special rules; these readers are switched off."""


def open_tiff(stream: BinaryIO, path: Path) -> RasterFile:
    """Read the directories of a TIFF file; the first series at full size is the image.

    Raises:
        ImageError: If it is a stack, incomplete or too large.
        ValueError: If it is damaged; also other exceptions of tifffile.
    """
    check_structure(stream, path)
    stream.seek(0)  # tifffile treats the current position as the start of the file.
    # Only the file that was given is opened, not those that OME-XML refers to.
    tiff = tifffile.TiffFile(stream, name=path.name, _multifile=False, **_OTHER_PROGRAMS)
    first = tiff.pages.first
    check_description(str(first.description or ""))
    series = tiff.series[0]
    page = series.keyframe
    if not page.imagelength * page.imagewidth or page.dtype is None:
        raise ValueError("it holds no image")
    check_pixels(page.imagelength, page.imagewidth, path.stem)
    axes = _check_axes(series, path)
    _check_parts(page)
    _check_complete(series, path)
    scale = mpp_of_tiff(tiff, page)
    turned = orientation.checked(page.tags.valueof(orientation.TAG))
    others = len(tiff.series) - 1
    remarks: tuple[str, ...] = (f"only the first of its {others + 1} series was read",) if others else ()
    remarks += () if scale.remark is None else (scale.remark,)
    lossy = int(page.compression) not in _LOSSLESS

    def load(indexed: bool) -> Raster:
        values = _arrange(series.asarray(), axes)
        alpha, said = has_alpha(page), remarks
        if not indexed:
            try:
                values, converted = visible(values, page)
            except UnknownColoursError as error:
                raise ImageError(f"'{path}' cannot be shown ({error}); save it as RGB.") from None
            values, dropped = _without_extra_channels(values, page)
            said += converted + dropped
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        palette = palette_of(page) if indexed else None
        if palette is not None and int(native.max(initial=0)) >= len(palette):
            palette = None  # Indices above 255 cannot be classes.
        return Raster(native, "TIFF", palette, mpp=scale.mpp, remarks=said, lossy=lossy, alpha=alpha)

    channels = max(1, page.samplesperpixel) * (series.size // max(1, page.size))
    needed = 1 + 2 * channels * page.dtype.itemsize
    return RasterFile(
        (page.imagelength, page.imagewidth), turned, needed, scale.mpp, _is_plain(page, axes), load
    )


def _is_plain(page: Any, axes: str) -> bool:
    """Return whether an image is grey or RGB, with the channels last."""
    kinds = tifffile.PHOTOMETRIC
    grey = page.photometric == kinds.MINISBLACK and page.samplesperpixel == 1
    colour = page.photometric in (kinds.RGB, kinds.YCBCR) and page.samplesperpixel in (3, 4)
    rows_first = [letter for letter in axes if letter in "YXSC"][:2] == ["Y", "X"]
    return (grey or colour) and rows_first and page.bitspersample in (8, 16, 32)


def _check_axes(series: Any, path: Path) -> str:
    """Return the letters of the axes; raise an `ImageError` if the image is a stack."""
    sizes = dict(zip(series.axes, series.shape, strict=True))
    kept = {letter: size for letter, size in sizes.items() if letter in "YX" or size > 1}
    letters, shape = "".join(kept), tuple(kept.values())
    # Of some files, only the shape is known.
    if "Q" in letters and (len(shape) < 3 or (len(shape) == 3 and min(shape[0], shape[2]) <= _MAX_CHANNELS)):
        return str(series.axes)
    if not {"Y", "X"} <= set(letters) or len(letters) > 3 or not set(letters) <= set("YXSC"):
        planes = " and ".join(
            f"{size} {_PLANES.get(axis, 'planes')}"
            for axis, size in zip(letters, shape, strict=True)
            if axis not in "YXSC"
        )
        raise ImageError(
            f"'{path}' is a stack of {planes} (axes {letters}, shape {shape}); save the one that you need as a single "
            "grey or RGB plane."
        )
    if sizes.get("C", 1) > 3:
        raise ImageError(
            f"'{path}' has {sizes['C']} channels (axes {letters}, shape {shape}); save one channel, or convert it to "
            "RGB."
        )
    return str(series.axes)


def _arrange(values: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """Drop axes of length 1 and move the channels last.

    Args:
        values: The array that tifffile read.
        axes: One letter per axis: Y, X, S (samples), C (channels), Z, T, I (pages), Q (unknown).
    """
    kept = [number for number, letter in enumerate(axes) if letter in "YX" or values.shape[number] > 1]
    values = values.reshape(tuple(values.shape[number] for number in kept))
    letters = "".join(axes[number] for number in kept)
    for channel in "SC":
        if channel in letters and "Q" not in letters:
            return np.moveaxis(values, letters.index(channel), -1)
    return values


def _without_extra_channels(values: npt.NDArray[Any], page: Any) -> tuple[npt.NDArray[Any], tuple[str, ...]]:
    """Drop opacity from grey images, and all channels after RGB that the file declares as extra ones."""
    extra = len(tuple(page.extrasamples or ()))
    if values.ndim != 3 or not extra:
        return values, ()
    if values.shape[2] == 2 and has_alpha(page):
        return values[..., 0], ("the alpha channel was dropped",)
    if values.shape[2] == 3 + extra and extra > 1:
        return values[..., :3], (f"its {extra} channels besides RGB were dropped",)
    return values, ()


def _check_parts(page: Any) -> None:
    """Raise a `ValueError` if a tile is much larger than the image, for which tifffile would allocate memory."""
    tile = max(1, page.tilelength) * max(1, page.tilewidth) * max(1, page.tiledepth)
    if page.is_tiled and tile > max(2**24, 4 * page.imagelength * page.imagewidth):
        raise ValueError(f"its tiles are {page.tilewidth} x {page.tilelength} px")


def _check_complete(series: Any, path: Path) -> None:
    """Raise if pixel data is missing, which tifffile would fill with zeros.

    Data is missing if the directory lists fewer strips or tiles than the image has, or if some lie beyond the end of
    the file.
    """
    page = series.keyframe
    expected, stored = math.prod(page.chunked), len(page.dataoffsets)
    if stored < expected:
        raise ImageError(
            f"'{path}' is damaged (it holds {stored} of {expected} parts of the image); download or save the "
            "file again."
        )
    size = path.stat().st_size
    missing = 0
    for page in series.pages:
        if page is None:
            raise ImageError(
                f"'{path}' holds only a part of its image, the rest is in other files; save it as one file."
            )
        ends = map(operator.add, page.dataoffsets, page.databytecounts)
        missing = max(missing, max(ends, default=0) - size)
    if missing > 0:
        raise ImageError(
            f"'{path}' is truncated ({missing} bytes are missing); download or save the file again."
        )
