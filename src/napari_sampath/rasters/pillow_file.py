"""Read image files with Pillow, by an allow-list of formats."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from . import orientation
from .colour_spaces import pillow_lab_to_rgb
from .pixel_size import mpp_of_dpi
from .raster import Raster, RasterFile, check_pixels

if TYPE_CHECKING:
    from ..arrays import UInt8Array

FORMATS = ("PNG", "JPEG", "MPO", "BMP", "GIF", "WEBP", "PPM", "JPEG2000", "AVIF")
"""Formats that may be opened; Pillow reads others, such as EPS, by starting another program."""
_LOSSY = ("JPEG", "JPEG2000", "MPO", "WEBP", "AVIF")
_PLAIN = ("1", "L", "LA", "RGB", "RGBA")
_PNG_16_BITS_WITH_CHANNELS = (b"\x10\x02", b"\x10\x04", b"\x10\x06")
"""Bit depth and colour type in the header of a PNG file of which Pillow keeps only the upper 8 bits."""
_MAX_EXIF_BYTES = 2**20
_MAX_COUNTED_BYTES = 2**22

_pillow_lock = threading.Lock()


def open_pillow(stream: BinaryIO, path: Path) -> RasterFile:
    """Read the header of an image file.

    Raises:
        ImageError: If it has too many pixels.
        PIL.UnidentifiedImageError: If it has none of the formats.
        OSError: If it is damaged; also other exceptions of Pillow.
    """
    stream.seek(24)
    depth_and_kind = stream.read(2)
    image = open_image(stream)
    check_pixels(image.height, image.width, path.stem)
    kind = str(image.format)
    remarks = _frames(image, os.fstat(stream.fileno()).st_size)
    mpp = mpp_of_dpi(image.info.get("dpi"))
    deep = kind == "PNG" and depth_and_kind in _PNG_16_BITS_WITH_CHANNELS
    scaled = _scaled(image, depth_and_kind)

    def load(indexed: bool) -> Raster:
        raster = _deep_png(stream) if deep and indexed else from_pillow(image, indexed)
        said = remarks + raster.remarks + (scaled if indexed else ())
        return Raster(
            raster.values,
            kind,
            raster.palette,
            raster.colours,
            mpp,
            said,
            lossy=kind in _LOSSY,
            alpha=raster.alpha,
        )

    channels = len(image.getbands())
    plain = (image.mode in _PLAIN and image.mode != "LA") or image.mode[0] in "IF"
    item = 4 if image.mode[0] in "IF" or channels > 1 else 1
    return RasterFile(
        (image.height, image.width), _orientation(image, stream), item + channels, mpp, plain, load
    )


def _scaled(image: Image.Image, depth_and_kind: bytes) -> tuple[str, ...]:
    """Return a clause for grey values of which Pillow, like other readers, makes 8 or 16 bits."""
    stored = 0
    if image.format == "PNG" and depth_and_kind in (b"\x02\x00", b"\x04\x00"):
        stored = 2 ** depth_and_kind[0] - 1
    elif image.format == "PPM":
        # The parameters of the decoder are its mode and the highest value.
        parameters = getattr(image, "tile", [])[:1]
        stored = next((int(args[1]) for *_, args in parameters if isinstance(args, tuple)), 0)
    highest = 65535 if image.mode[0] == "I" else 255
    return (
        (f"its grey values from 0 to {stored} were scaled to 0 to {highest}",) if 1 < stored < highest else ()
    )


def from_pillow(image: Image.Image, indexed: bool = False) -> Raster:
    """Convert an image of any mode of Pillow to an array as displayed, or as stored if `indexed` is True.

    Raises:
        ValueError: If the colours cannot be converted.
    """
    kind = image.format or "array"
    if indexed and image.mode in ("P", "PA"):
        values = np.asarray(image)
        return Raster(values if values.ndim == 2 else values[..., 0], kind, *_palette(image))
    if image.mode == "I" and kind == "PNG":  # Earlier versions of Pillow read 16 bits as 32.
        return Raster(np.asarray(image).astype(np.uint16), kind)
    if image.mode in _PLAIN or image.mode[0] in "IF":
        values = np.asarray(image)
        if image.mode == "LA" and not indexed:
            return Raster(values[..., 0], kind, remarks=("the alpha channel was dropped",))
        native = values.astype(values.dtype.newbyteorder("="), copy=False)
        return Raster(native, kind, alpha=image.mode in ("LA", "RGBA"))
    remarks = (f"its colours were converted from {image.mode} to RGB",)
    if image.mode in ("P", "PA") and isinstance(image.info.get("transparency"), bytes):
        image = image.copy()
        del image.info["transparency"]  # Otherwise Pillow warns that the transparency is dropped.
    if image.mode == "LAB":
        return Raster(np.asarray(pillow_lab_to_rgb(image)), kind, remarks=remarks)
    if image.mode == "La":
        return Raster(
            np.asarray(image.convert("LA"))[..., 0], kind, remarks=("the alpha channel was dropped",)
        )
    if image.mode == "RGBa":
        return Raster(np.asarray(image.convert("RGBA")), kind, remarks=remarks, alpha=True)
    return Raster(np.asarray(image.convert("RGB")), kind, remarks=remarks)


def open_image(stream: BinaryIO, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Open a file without Pillow's limit of 179 million pixels; its size is known before its pixels are decoded.

    Raises:
        PIL.UnidentifiedImageError: If it has none of the formats.
        OSError: If it is damaged; also other exceptions of Pillow.
    """
    Image.init()
    formats = [name for name in formats if name in Image.OPEN]
    stream.seek(0)
    with _pillow_lock:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(stream, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _frames(image: Image.Image, file_bytes: int) -> tuple[str, ...]:
    if not getattr(image, "is_animated", False):
        return ()
    # Counting the frames of a GIF file takes time in proportion to its size.
    count = getattr(image, "n_frames", 1) if file_bytes < _MAX_COUNTED_BYTES else None
    return (
        "only the first of its frames was read"
        if count is None
        else f"only the first of its {count} frames was read",
    )


def _orientation(image: Image.Image, stream: BinaryIO) -> int:
    try:
        with _pillow_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif = _png_exif(stream) if image.format == "PNG" else image.getexif()
            return orientation.checked(exif.get(orientation.TAG))
    except (ValueError, SyntaxError, LookupError, TypeError, OSError, ArithmeticError, AttributeError):
        return 1  # Damaged EXIF data does not make the pixels useless.


def _png_exif(stream: BinaryIO) -> Image.Exif:
    """Read the EXIF data of a PNG file from its chunks; Pillow would decode the pixels first."""
    exif = Image.Exif()
    place = stream.tell()
    offset = 8
    while True:
        stream.seek(offset)
        header = stream.read(8)
        if len(header) < 8 or header[4:] == b"IEND":
            break
        (length,) = struct.unpack(">I", header[:4])
        if header[4:] == b"eXIf":
            exif.load(stream.read(min(length, _MAX_EXIF_BYTES)))
            break
        offset += 12 + length
    stream.seek(place)
    return exif


def _palette(image: Image.Image) -> tuple[UInt8Array, int]:
    """Return the colours, (256, 3), and how many of them the file defines."""
    colours = np.zeros((256, 3), dtype=np.uint8)
    stored = np.asarray(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    colours[: len(stored)] = stored
    return colours, len(stored)


def _deep_png(stream: Any) -> Raster:
    """Read a PNG file of 16 bits per channel with all bits."""
    import imagecodecs

    stream.seek(0)
    values = imagecodecs.png_decode(stream.read())
    return Raster(values, "PNG", alpha=values.shape[2:] in ((2,), (4,)))
