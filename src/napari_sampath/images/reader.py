"""Image files -> `Picture`: TIFF through tifffile, all else through Pillow."""

from __future__ import annotations

import math
import operator
import os
import struct
import threading
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from ..errors import ImageError
from .picture import Picture, check_pixels, to_picture

if TYPE_CHECKING:
    import numpy.typing as npt

_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_BROKEN = (
    OSError,
    ValueError,  # also tifffile.TiffFileError
    RuntimeError,  # also the decoders of imagecodecs
    SyntaxError,  # Pillow's word for a broken PNG
    LookupError,
    TypeError,
    EOFError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
"""What the readers raise on files that are damaged."""
_MPP_RANGE = (0.05, 20.0)
"""Scales of microscope images; what lies outside is a printer's resolution."""

_pillow_limit = threading.Lock()


def read(path: str | Path) -> Picture:
    """Read an image file.

    Pixels are taken as they are stored: a rotation tag of a camera is not applied, as in napari. Of a TIFF file
    the first series is read at full size, of an animation the first picture.

    Args:
        path: JPEG, PNG, TIFF, or anything else that Pillow reads.

    Returns:
        The picture, named after the file without its suffix; its scale is known if a TIFF file says it.

    Raises:
        ImageError: If the file is missing, unreadable, truncated, no image, or one that `to_picture` refuses.
    """
    path = Path(path).expanduser()
    if os.path.isdir(path):  # Unlike `Path.is_dir`, never raises.
        raise ImageError(f"'{path}' is a folder; give one image file in it.")
    try:
        with open(path, "rb") as stream:
            start = stream.read(4)
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path}'; check the path.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"'{path}' cannot be opened ({_reason(error)}); check the file.") from error
    if not start:
        raise ImageError(f"'{path}' is empty (0 bytes); give a JPEG, PNG or TIFF file.")
    try:
        values, mpp, remarks = _read_tiff(path) if start in _TIFF_STARTS else _read_pillow(path)
    except ImageError:
        raise
    except UnidentifiedImageError:
        raise ImageError(f"'{path}' is no image that can be read; give a JPEG, PNG or TIFF file.") from None
    except MemoryError:
        raise ImageError(
            f"'{path}' does not fit in memory; cut out a region or use a lower magnification."
        ) from None
    except _BROKEN as error:
        raise ImageError(
            f"'{path}' is truncated or damaged ({_reason(error)}); get the file again or save it anew."
        ) from error
    return to_picture(values, path.stem, mpp=mpp, remarks=remarks)


def _read_pillow(path: Path) -> tuple[npt.NDArray[Any], float | None, tuple[str, ...]]:
    with _open_pillow(path) as image:
        check_pixels(image.height, image.width, path.stem)
        remarks: tuple[str, ...] = ()
        count = getattr(image, "n_frames", 1)
        if count > 1:
            remarks = (f"only the first of its {count} pictures was read",)
        if image.mode == "1":
            return np.asarray(image.convert("L")), None, remarks
        if image.mode in ("L", "LA", "RGB", "RGBA") or image.mode[0] in "IF":
            return np.asarray(image), None, remarks
        # Palettes, CMYK, YCbCr ... have one meaning only.
        remarks += (f"its colours were converted from {image.mode} to RGB",)
        return np.asarray(image.convert("RGB")), None, remarks


def _open_pillow(path: Path) -> Image.Image:
    """Open a file without Pillow's limit of 179 million pixels; large scans are what this package is for."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _read_tiff(path: Path) -> tuple[npt.NDArray[Any], float | None, tuple[str, ...]]:
    with tifffile.TiffFile(path) as tiff:
        series = tiff.series[0]
        page = series.keyframe
        mpp = _mpp(tiff, page)
        check_pixels(page.imagelength, page.imagewidth, path.stem)
        _check_complete(series, path)
        jpeg = page.compression in (tifffile.COMPRESSION.JPEG, tifffile.COMPRESSION.OJPEG)
        plain = page.photometric in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK)
        if not plain and not (jpeg and page.photometric == tifffile.PHOTOMETRIC.YCBCR):
            # tifffile hands out palette indices, inverted grey and inks as they are stored; Pillow makes RGB.
            values, _, remarks = _read_pillow(path)
            return values, mpp, remarks
        remarks = (
            (f"only the first of its {len(tiff.series)} series was read",) if len(tiff.series) > 1 else ()
        )
        return _arrange(series.asarray(), series.axes, path), mpp, remarks


def _arrange(values: npt.NDArray[Any], axes: str, path: Path) -> npt.NDArray[Any]:
    """Drop axes of length 1 and put the channels last.

    Args:
        values: What tifffile read.
        axes: One letter an axis: Y, X, S (samples), C (channels), Z, T, I (pages), Q (not known).
        path: Used in messages.
    """
    kept = [number for number, letter in enumerate(axes) if letter in "YX" or values.shape[number] > 1]
    shape = tuple(values.shape[number] for number in kept)
    letters = "".join(axes[number] for number in kept)
    values = values.reshape(shape)
    if "Q" in letters:  # Nothing is known but the shape.
        return values
    if not {"Y", "X"} <= set(letters) or len(letters) > 3 or not set(letters) <= set("YXSC"):
        raise ImageError(
            f"'{path}' is a stack (axes {letters}, shape {shape}); allowed is one plane, grey or RGB: save that "
            "plane alone."
        )
    for channel in "SC":
        if channel in letters:
            return np.moveaxis(values, letters.index(channel), -1)
    return values


def _check_complete(series: Any, path: Path) -> None:
    """Raise if pixel data is not in the file, which tifffile would fill up with zeros.

    That is so where the directory names fewer strips or tiles than the size of the image asks for, or where they lie
    behind the end of the file.
    """
    page = series.keyframe
    expected, there = math.prod(page.chunked), len(page.dataoffsets)
    if there < expected:
        raise ImageError(
            f"'{path}' is damaged ({there} of the {expected} parts of the image are there); get the file again or "
            "save it anew."
        )
    size = path.stat().st_size
    missing = 0
    for page in series.pages:
        if page is not None:
            ends = map(operator.add, page.dataoffsets, page.databytecounts)
            missing = max(missing, max(ends, default=0) - size)
    if missing > 0:
        raise ImageError(
            f"'{path}' is truncated ({missing} bytes are missing); get the file again or save it anew."
        )


def _mpp(tiff: Any, page: Any) -> float | None:
    """Read micrometres per pixel from the resolution tags; None if absent, not square or not a microscope's."""
    unit_um = {2: 25_400.0, 3: 10_000.0}.get(int(page.tags.valueof("ResolutionUnit", default=2)))
    if str((tiff.imagej_metadata or {}).get("unit", "")).lower() in (
        "micron",
        "microns",
        "um",
        "µm",
        "\\u00b5m",
    ):
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
