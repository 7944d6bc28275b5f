"""Read image files of any format."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
import tokenize
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from xml.etree.ElementTree import ParseError

import numpy as np
from PIL import UnidentifiedImageError

from ..errors import ImageError, first_line
from ..files import open_regular
from . import numpy_file, orientation, tiff_structure
from .pillow_file import open_pillow
from .raster import Raster, RasterFile, check_expansion
from .tiff_file import open_tiff

_READ_ERRORS = (
    OSError,
    ValueError,  # also tifffile.TiffFileError
    RuntimeError,  # also the decoders of imagecodecs
    SyntaxError,  # Pillow on a damaged PNG
    ParseError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    EOFError,
    ArithmeticError,
    ImportError,  # a decoder that this build of imagecodecs lacks
    struct.error,
    tokenize.TokenError,  # NumPy on a damaged header
    zlib.error,
)
"""Exceptions that tifffile, imagecodecs, NumPy and Pillow raise on damaged files."""


def read_raster(path: str | Path, indexed: bool = False) -> Raster:
    """Read an image file, turned as its orientation tag states.

    Of a TIFF file, the first series is read at full size, of an animation the first frame.

    Args:
        path: JPEG, PNG, TIFF, or another format in `pillow_file.FORMATS`, or an array of NumPy (`.npy`).
        indexed: Keep values as stored: indices of a palette, grey values of which 0 is white, and other colours
            than RGB. By default, the values are those that are displayed.

    Raises:
        ImageError: If the file is missing, unreadable, truncated, not an image, a stack, or larger than memory.
    """
    with opened(Path(path)) as file:
        check_expansion(file, os.path.getsize(path), Path(path))
        return turned(file.load(indexed), file.orientation)


def read_both(path: Path, matches: Callable[[tuple[int, int]], bool]) -> tuple[Raster | None, Raster | None]:
    """Read an image as stored and as displayed, if these differ and its stored size (H, W) matches.

    Returns:
        The values as stored, not turned, and as displayed, turned. If they are the same, the values as stored are None,
        and those as displayed are empty; if the size does not match, both are None.

    Raises:
        ImageError: As `read_raster`.
    """
    with opened(path) as file:
        if not matches(file.hw):
            return None, None
        if file.is_plain and file.orientation == 1:
            return None, Raster(np.zeros((0, 0)), "", mpp=file.mpp)
        check_expansion(file, os.path.getsize(path), path)
        return file.load(True), turned(file.load(False), file.orientation)


def read_size(path: str | Path) -> tuple[int, int]:
    """Read the size (H, W) of an image, turned as its orientation tag states, without decoding the pixels.

    Raises:
        ImageError: As `read_raster`, except for damaged pixels.
    """
    with opened(Path(path)) as file:
        return orientation.turned_hw(file.hw, file.orientation)


def read_orientation(path: str | Path) -> int:
    """Read the orientation tag of an image, 1..8, without decoding the pixels.

    Raises:
        ImageError: As `read_size`.
    """
    with opened(Path(path)) as file:
        return file.orientation


def turned(raster: Raster, tag: int) -> Raster:
    """Turn the values of a raster according to an orientation tag, and add a remark."""
    if tag == 1:
        return raster
    return dataclasses.replace(
        raster,
        values=orientation.turn(raster.values, tag),
        remarks=(*raster.remarks, *orientation.describe(tag)),
        orientation=tag,
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[RasterFile]:
    """Open an image file and read its header; errors in the block become an `ImageError` as well.

    Raises:
        ImageError: As `read_raster`.
    """
    with _open_stream(path) as stream:
        try:
            yield _open_file(stream, path)
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
                f"'{path}' is truncated or damaged ({first_line(error)}); download or save the file again."
            ) from error


def _open_file(stream: BinaryIO, path: Path) -> RasterFile:
    start = stream.read(4)
    if not start:
        raise ImageError(f"'{path}' is empty (0 bytes); give a JPEG, PNG or TIFF file.")
    if start in tiff_structure.STARTS:
        return open_tiff(stream, path)
    if start == numpy_file.START:
        stream.seek(0)
        return numpy_file.open_numpy(stream, path)
    return open_pillow(stream, path)


def _open_stream(path: Path) -> BinaryIO:
    if os.path.isdir(path):  # Unlike `Path.is_dir`, never raises.
        raise ImageError(f"'{path}' is a folder; give an image file in it.")
    try:
        return open_regular(path)
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path}'; check the path.") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"'{path}' cannot be opened ({first_line(error)}); check the file.") from error
