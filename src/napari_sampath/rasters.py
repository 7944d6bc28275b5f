"""Reading image files as arrays: TIFF with tifffile, other formats with Pillow."""

from __future__ import annotations

import math
import operator
import os
import struct
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from .errors import ImageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from .arrays import UInt8Array

MAX_PIXELS = 2**30
"""Largest image that is read into memory, in pixels (3 GiB as RGB)."""

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_READ_ERRORS = (
    OSError,
    ValueError,  # also tifffile.TiffFileError
    RuntimeError,  # also the decoders of imagecodecs
    SyntaxError,  # Pillow on a damaged PNG
    LookupError,
    TypeError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""Exceptions that tifffile and Pillow raise on damaged files."""
_MPP_RANGE = (0.05, 20.0)
"""Plausible micrometres per pixel of microscope images; other values are the resolution of a printer."""
_MICRONS = ("micron", "microns", "um", "µm", "\\u00b5m")

_pillow_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """One plane of an image file, with the values as stored."""

    values: npt.NDArray[Any]
    """(H, W), (H, W, C), or another shape if a TIFF file does not name its axes."""
    format: str
    """Pillow's name of the file format: "PNG", "TIFF", "JPEG" ..."""
    palette: UInt8Array | None = None
    """(256, 3) RGB colours if the values are indices; colours that the file does not define are black."""
    mpp: float | None = None
    """Micrometres per pixel, from the tags of a TIFF file."""
    remarks: tuple[str, ...] = ()
    """Remarks for the user about skipped or converted content."""


def read_raster(path: Path, indexed: bool = False) -> Raster:
    """Read an image file.

    Pixels are read as stored: as in napari, the orientation tag of a camera is not applied. Of a TIFF file, the first
    series is read at full size, of an animation the first frame.

    Args:
        path: JPEG, PNG, TIFF, or another format that Pillow reads.
        indexed: Keep the indices of an image with a palette instead of converting it to RGB.

    Raises:
        ImageError: If the file is missing, unreadable, truncated, not an image, a stack, or larger than memory.
    """
    start = _first_bytes(path)
    try:
        return _read_tiff(path, indexed) if start in _TIFF_STARTS else _read_pillow(path, indexed)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"'{path}' is not a readable image; give a JPEG, PNG or TIFF file.") from None
    except MemoryError:
        raise ImageError(
            f"'{path}' does not fit in memory; crop a region or use a lower magnification."
        ) from None
    except _READ_ERRORS as error:
        raise ImageError(
            f"'{path}' is truncated or damaged ({_reason(error)}); download or save the file again."
        ) from error


def check_pixels(height: int, width: int, name: str) -> None:
    """Raise an `ImageError` if an image of this size cannot be held in memory."""
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"'{name}' is {width} x {height} px (width x height), more than {MAX_PIXELS:,} px in total; crop a "
            "region or use a lower magnification."
        )


def _first_bytes(path: Path) -> bytes:
    if os.path.isdir(path):  # Unlike `Path.is_dir`, never raises.
        raise ImageError(f"'{path}' is a folder; give an image file in it.")
    try:
        with open(path, "rb") as stream:
            start = stream.read(4)
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path}'; check the path.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"'{path}' cannot be opened ({_reason(error)}); check the file.") from error
    if not start:
        raise ImageError(f"'{path}' is empty (0 bytes); give a JPEG, PNG or TIFF file.")
    return start


def _read_pillow(path: Path, indexed: bool) -> Raster:
    with _open_pillow(path) as image:
        check_pixels(image.height, image.width, path.stem)
        kind = str(image.format)
        remarks: tuple[str, ...] = ()
        count = getattr(image, "n_frames", 1)
        if count > 1:
            remarks = (f"only the first of its {count} frames was read",)
        if indexed and image.mode == "P":
            return Raster(np.asarray(image), kind, _palette(image), remarks=remarks)
        if image.mode in ("1", "L", "LA", "RGB", "RGBA") or image.mode[0] in "IF":
            return Raster(np.asarray(image), kind, remarks=remarks)
        # Palettes, CMYK and YCbCr have an unambiguous conversion.
        remarks += (f"its colours were converted from {image.mode} to RGB",)
        return Raster(np.asarray(image.convert("RGB")), kind, remarks=remarks)


def _open_pillow(path: Path) -> Image.Image:
    """Open a file without Pillow's limit of 179 million pixels."""
    with _pillow_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _palette(image: Image.Image) -> UInt8Array:
    colours = np.zeros((256, 3), dtype=np.uint8)
    stored = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    colours[: len(stored)] = stored
    return colours


def _read_tiff(path: Path, indexed: bool) -> Raster:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        page = series.keyframe
        mpp = _mpp(tiff, page)
        check_pixels(page.imagelength, page.imagewidth, path.stem)
        _check_complete(series, path)
        jpeg = page.compression in (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
        kinds = tifffile.PHOTOMETRIC
        palette = None
        if indexed and page.photometric == kinds.PALETTE and page.dtype == np.uint8:
            palette = (page.colormap >> 8).astype(np.uint8).T
        elif page.photometric not in (kinds.RGB, kinds.MINISBLACK) and not (
            jpeg and page.photometric == kinds.YCBCR
        ):
            # tifffile returns palette indices, inverted grey and inks as stored; Pillow converts them to RGB.
            raster = _read_pillow(path, indexed)
            return Raster(raster.values, "TIFF", raster.palette, mpp, raster.remarks)
        remarks = (
            (f"only the first of its {len(tiff.series)} series was read",) if len(tiff.series) > 1 else ()
        )
        return Raster(_arrange(series.asarray(), series.axes, path), "TIFF", palette, mpp, remarks)


def _arrange(values: npt.NDArray[Any], axes: str, path: Path) -> npt.NDArray[Any]:
    """Drop axes of length 1 and move the channels last.

    Args:
        values: The array that tifffile read.
        axes: One letter per axis: Y, X, S (samples), C (channels), Z, T, I (pages), Q (unknown).
        path: For error messages.
    """
    kept = [number for number, letter in enumerate(axes) if letter in "YX" or values.shape[number] > 1]
    shape = tuple(values.shape[number] for number in kept)
    letters = "".join(axes[number] for number in kept)
    values = values.reshape(shape)
    if "Q" in letters:  # Only the shape is known.
        return values
    if not {"Y", "X"} <= set(letters) or len(letters) > 3 or not set(letters) <= set("YXSC"):
        raise ImageError(
            f"'{path}' is a stack (axes {letters}, shape {shape}); save a single grey or RGB plane."
        )
    for channel in "SC":
        if channel in letters:
            return np.moveaxis(values, letters.index(channel), -1)
    return values


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
        if page is not None:
            ends = map(operator.add, page.dataoffsets, page.databytecounts)
            missing = max(missing, max(ends, default=0) - size)
    if missing > 0:
        raise ImageError(
            f"'{path}' is truncated ({missing} bytes are missing); download or save the file again."
        )


def _mpp(tiff: Any, page: Any) -> float | None:
    """Read micrometres per pixel from the resolution tags; None if absent, not square or implausible."""
    unit_um = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof("ResolutionUnit", default=2)))
    if str((tiff.imagej_metadata or {}).get("unit", "")).lower() in _MICRONS:
        unit_um = 1.0
    sides = []
    for tag in ("XResolution", "YResolution"):
        value = page.tags.valueof(tag)
        if unit_um is None or not isinstance(value, tuple) or len(value) != 2 or 0 in value:
            return None
        sides.append(unit_um * value[1] / value[0])
    plausible = _MPP_RANGE[0] <= sides[0] <= _MPP_RANGE[1]
    return sides[0] if plausible and abs(sides[0] - sides[1]) <= 0.01 * sides[0] else None


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return str(text).splitlines()[0].rstrip(".")
