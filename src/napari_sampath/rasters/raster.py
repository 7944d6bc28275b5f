"""One plane of an image file in memory, and the limits on its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ImageError

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..arrays import UInt8Array

MAX_PIXELS = 2**30
"""Largest image that is read into memory, in pixels (3 GiB as RGB)."""
_FREE_BYTES = 900_000_000
"""Memory in bytes that a file of any size may need."""
_MAX_EXPANSION = 1_100
"""Maximum ratio of memory to file size above that; deflate reaches 1,032 on a map of zeros."""


@dataclass(frozen=True, slots=True, eq=False)
class Raster:
    """One plane of an image file."""

    values: npt.NDArray[Any]
    """(H, W), (H, W, C), or another shape if a TIFF file does not name its axes."""
    format: str
    """Pillow's name of the file format ("PNG", "TIFF", "JPEG" ...), or "NPY"."""
    palette: UInt8Array | None = None
    """(256, 3) RGB colours if the values are indices; colours that the file does not define are black."""
    colours: int = 256
    """Number of colours that the palette defines."""
    mpp: float | None = None
    """Micrometres per pixel; None if the file does not state it."""
    remarks: tuple[str, ...] = ()
    """Clauses for the user about skipped or converted content."""
    orientation: int = 1
    """Orientation tag (1..8) that has been applied."""
    lossy: bool = False
    """Whether the compression may have altered values."""
    alpha: bool = False
    """Whether the last channel is opacity."""


@dataclass(frozen=True, slots=True, eq=False)
class RasterFile:
    """An open image file of which only the header has been read."""

    hw: tuple[int, int]
    """Size (H, W) as stored, before the orientation is applied."""
    orientation: int
    """Orientation tag, 1..8."""
    bytes_per_pixel: int
    """Memory that decoding needs, without the conversion to RGB."""
    mpp: float | None
    """Micrometres per pixel."""
    is_plain: bool
    """Whether the values are stored as displayed, channels last, except for opacity."""
    load: Callable[[bool], Raster]
    """Decode the pixels, without applying the orientation; True keeps values as stored (see `read_raster`)."""


def check_pixels(height: int, width: int, name: str) -> None:
    """Raise an `ImageError` if an image of this size cannot be held in memory."""
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"'{name}' is {width} x {height} px (width x height), more than {MAX_PIXELS:,} px in total; crop a "
            "region or use a lower magnification."
        )


def check_expansion(file: RasterFile, file_bytes: int, path: Path, is_label_map: bool = False) -> None:
    """Raise an `ImageError` if a small file would need so much memory that it cannot be an image of tissue."""
    height, width = file.hw
    needed = height * width * (file.bytes_per_pixel + (0 if is_label_map else 3))
    if needed > max(_FREE_BYTES, _MAX_EXPANSION * file_bytes):
        raise ImageError(
            f"'{path}' has {file_bytes:,} bytes, but its header states {width} x {height} px (width x height), which "
            f"need {needed / 1e9:.1f} GB of memory; a real image is larger on disk: save the file again."
        )
