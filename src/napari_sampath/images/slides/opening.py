"""Choose the reader of a slide by the content of the file, never by its ending alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ImageError
from ...rasters.zarr_arrays import is_zarr
from .array_levels import ArraySlide
from .dicom import dicom_slide, is_dicom
from .omezarr import OmeZarrSlide
from .openslide_reader import OpenSlideSlide, detect_vendor
from .slide import Slide
from .tiff import TiffSlide

SLIDE_PIXELS = 2**26
"""Number of pixels from which an ordinary tiled file is opened as a slide instead of being read into memory."""

_OVERVIEW_PX, _SAME_COLOURS = 256, 8.0
"""Longer side of the overviews by which two slides are compared, and the largest mean difference of their values."""
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ZIP_START = b"PK\3\4"
_OF_OPENSLIDE = ("hamamatsu", "mirax", "leica", "ventana", "philips", "trestle", "sakura", "dicom", "zeiss")
"""Formats, by the name that OpenSlide detects, that are left to OpenSlide even if they are TIFF files."""
_UNREAD = {
    ".vsi": "Olympus VSI",
    ".isyntax": "Philips iSyntax",
    ".czi": "this kind of Zeiss CZI",
}


def open_slide(path: str | Path, in_windows: bool = True) -> Slide:
    """Open a slide without reading its pixels.

    Tiled TIFF files (SVS, OME-TIFF, plain pyramids) are read with tifffile, OME-Zarr with `rasters.zarr_arrays`, and
    all other formats with OpenSlide. Label and macro images are never read, since they may show the name of a patient.

    Args:
        path: A file, or the folder of an OME-Zarr image or a DICOM series.
        in_windows: Whether windows are read; False if the slide is read once from top to bottom, for which more layouts
            of TIFF files are accepted.

    Returns:
        The slide; close it after use, or use it as a context manager.

    Raises:
        ImageError: If it is missing, damaged, or of a format that is not read, or if a folder has several slides.
    """
    path = Path(path).expanduser()
    if is_zarr(path):
        return OmeZarrSlide(path)
    file = _file_of(path)
    vendor = detect_vendor(file)
    if vendor is not None and vendor.startswith(_OF_OPENSLIDE):
        slide = OpenSlideSlide(file)
        slide.name = path.stem  # The files of a DICOM series have generated names.
        return slide
    with file.open("rb") as stream:
        start = stream.read(4)
    if start in _TIFF_STARTS:
        return TiffSlide(file, in_windows)
    if vendor is not None:
        return OpenSlideSlide(file)
    if start == _ZIP_START:
        raise ImageError(f"'{path}' is a zip archive; unpack it, and open the slide that is in it.")
    if file.suffix.lower() == ".mrxs" and not file.with_suffix("").is_dir():
        raise ImageError(
            f"'{path}' lacks its folder '{file.stem}', which holds the pixels of an MRXS slide; copy the folder beside "
            "the file."
        )
    name = _UNREAD.get(file.suffix.lower(), "its format")
    raise ImageError(
        f"'{path}' cannot be read as a slide ({name} is not read); convert it to OME-TIFF or OME-Zarr, for example "
        "with QuPath or bioformats2raw."
    )


def open_large(path: str | Path) -> Slide | None:
    """Open a slide of `SLIDE_PIXELS` or more, which is annotated without being read into memory.

    Returns:
        The slide; None if the file is smaller or is not read as a slide.
    """
    try:
        slide = open_slide(path)
    except (ImageError, OSError):
        return None
    if slide.hw[0] * slide.hw[1] >= SLIDE_PIXELS:
        return slide
    slide.close()
    return None


def open_levels(arrays: Sequence[Any], name: str, mpp: float | None, path: Path | None = None) -> Slide:
    """Return the slide that another program opened as arrays: its file, or else the arrays.

    Annotations are found again by the identity of a slide, which depends on the program that decodes its pixels. The
    file is used if it is read here and has the same size and colours.

    Args:
        arrays: The levels; see `ArraySlide`.
        name: Name of the slide, used in messages.
        mpp: Micrometres per level-0 pixel of the arrays; None if unknown.
        path: The file, if there is one.

    Raises:
        ImageError: As for `ArraySlide`.
    """
    levels = ArraySlide(arrays, name, mpp)
    slide = None if path is None else open_large(path)
    if slide is None:
        return levels
    if slide.hw == levels.hw and _looks_like(slide, levels):
        slide.mpp = mpp or slide.mpp
        return slide
    slide.close()
    return levels


def _looks_like(first: Slide, second: Slide) -> bool:
    """Return whether overviews of two slides of the same size differ by no more than two decoders do."""
    box, step = (0, 0, *first.hw), max(1, max(first.hw) // _OVERVIEW_PX)
    difference = first.read(box, step).astype(np.int16) - second.read(box, step)
    return bool(np.abs(difference).mean() < _SAME_COLOURS)


def is_slide(path: str | Path) -> bool:
    """Return True if a file is better opened as a slide than read into memory.

    True for OME-Zarr images, vendors' formats, and tiled TIFF files of `SLIDE_PIXELS` or more; False for files that
    cannot be read.
    """
    path = Path(path).expanduser()
    if is_zarr(path):
        return True
    try:
        with open_slide(path) as slide:
            large = slide.hw[0] * slide.hw[1] >= SLIDE_PIXELS
            return large or detect_vendor(_file_of(path)) not in (None, "generic-tiff")
    except (ImageError, OSError):
        return False


def _file_of(path: Path) -> Path:
    """Return the file to open; of a DICOM slide, the file of its finest level."""
    if path.is_dir():
        return dicom_slide(path)
    if not path.exists():
        raise ImageError(f"There is no file '{path}'; check the path.")
    if not path.is_file():
        raise ImageError(f"'{path}' is not a regular file; give a slide.")
    if path.stat().st_size == 0:
        raise ImageError(f"'{path}' is empty (0 bytes); copy the slide again.")
    return dicom_slide(path) if is_dicom(path) else path
