"""Slides of vendors' formats that only OpenSlide reads: NDPI, MRXS, SCN, BIF, Philips, DICOM ..."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import UInt8Array
from ...errors import ImageError
from ...rasters import Scale
from ...rasters.pixel_size import positive_number, scale_of
from .slide import Box, Slide

logger = logging.getLogger(__name__)


class OpenSlideSlide(Slide):
    """A file that OpenSlide reads, cropped to the scanned area as in QuPath.

    Args:
        path: The file; of a DICOM series, any of its files.

    Raises:
        ImageError: If OpenSlide is not installed or does not read the file.
    """

    def __init__(self, path: Path) -> None:
        openslide = import_openslide(path)
        self._errors = (openslide.OpenSlideError, OSError, ValueError)
        self._open: Any = openslide.OpenSlide
        self._file = self._opened(path)
        properties = self._file.properties
        self._offset_xy, self._sizes_xy = self._bounds(properties)
        factors = self._file.level_downsamples
        sizes = [
            (max(1, int(self._sizes_xy[1] / factor)), max(1, int(self._sizes_xy[0] / factor)))
            for factor in factors
        ]
        vendor = properties.get(openslide.PROPERTY_NAME_VENDOR, "unknown vendor")
        reader = f"OpenSlide {openslide.__library_version__} ({vendor})"
        super().__init__(path, sizes, _scale(properties, openslide), reader)
        self._factors = factors
        self._lock = threading.Lock()
        self._damage_logged = False

    def _opened(self, path: Path) -> Any:
        try:
            return self._open(path)
        except self._errors as error:
            raise ImageError(
                f"'{path}' cannot be opened as a slide ({error}); copy it again, or convert it to OME-TIFF, for "
                "example with QuPath."
            ) from error

    def _bounds(self, properties: Any) -> tuple[tuple[int, int], tuple[int, int]]:
        """Return the origin (x, y) and size (w, h) of the scanned area in level-0 pixels."""
        width, height = self._file.dimensions
        x, y, w, h = (
            int(properties.get(f"openslide.bounds-{key}", default))
            for key, default in (("x", 0), ("y", 0), ("width", width), ("height", height))
        )
        inside = 0 <= x < x + w <= width and 0 <= y < y + h <= height
        return ((x, y), (w, h)) if inside else ((0, 0), (width, height))

    def read_level(self, number: int, box: Box) -> UInt8Array:
        """Read a window of one level; see `Slide.read_level`."""
        r0, c0, r1, c1 = box
        factor = self._factors[number]
        x, y = round(self._offset_xy[0] + c0 * factor), round(self._offset_xy[1] + r0 * factor)
        with self._lock:
            file = self._file
        if file is None:
            raise ImageError(f"'{self.path}' is closed; open the slide again.")
        try:
            image = file.read_region((x, y), number, (c1 - c0, r1 - r0))
        except self._errors as error:
            if not self.path.exists():
                raise ImageError(
                    f"'{self.path}' cannot be read any more ({error}); check the disk."
                ) from error
            self._reopen(file, error)
            return np.full((r1 - r0, c1 - c0, 3), 255, np.uint8)
        return _on_white(np.asarray(image))

    def _reopen(self, broken: Any, error: BaseException) -> None:
        """Replace a handle after an error, which OpenSlide repeats for every later read."""
        with self._lock:
            if self._file is broken:
                self._file = self._opened(self.path)
            if not self._damage_logged:
                logger.warning("A part of '%s' is damaged and shown white: %s", self.name, error)
                self._damage_logged = True

    def close(self) -> None:
        """Close the file, as soon as no thread reads it any more."""
        # OpenSlide frees its handle even while another thread uses it, which ends the process. Without references, the
        # handle is freed after the last use.
        with self._lock:
            self._file = None


def import_openslide(path: Path) -> Any:
    """Import OpenSlide when it is needed for the first time.

    Raises:
        ImageError: If it is not installed, or has no library for this computer.
    """
    try:
        import openslide
    except (ImportError, OSError) as error:
        raise ImageError(
            f"'{path}' needs OpenSlide, which is not available here ({error}): install 'openslide-python "
            "openslide-bin', or convert the slide to OME-TIFF, for example with QuPath."
        ) from error
    return openslide


def detect_vendor(path: Path) -> str | None:
    """Return OpenSlide's name of the format, detected from the content; None if it does not read the file."""
    try:
        openslide = import_openslide(path)
    except ImageError:
        return None
    vendor: str | None = openslide.OpenSlide.detect_format(path)
    return vendor


def _scale(properties: Any, openslide: Any) -> Scale:
    sides = []
    for key in (openslide.PROPERTY_NAME_MPP_X, openslide.PROPERTY_NAME_MPP_Y):
        try:
            sides.append(float(properties[key].replace(",", ".")))
        except (KeyError, ValueError):
            return Scale()
    power = positive_number(properties.get(openslide.PROPERTY_NAME_OBJECTIVE_POWER, "").replace(",", "."))
    return scale_of((sides[0], sides[1]), "slide properties", power)


def _on_white(rgba: UInt8Array) -> UInt8Array:
    """Blend (h, w, 4) RGBA with white, because regions that were not scanned are transparent."""
    alpha = rgba[..., 3:]
    if alpha.min(initial=255) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    blended = (rgba[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha.astype(np.uint16))) // 255
    result: UInt8Array = blended.astype(np.uint8)
    return result
