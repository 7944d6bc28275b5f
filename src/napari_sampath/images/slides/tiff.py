"""Slides in TIFF files: SVS, OME-TIFF and plain pyramids, decoded chunk by chunk with tifffile.

The chunks (tiles or strips) of a file are read by their place in the file and decoded by tifffile, which is two to
three times as fast as OpenSlide for JPEG and gives the same pixels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from ...arrays import UInt8Array
from ...errors import ImageError, first_line
from ...rasters import Scale, mpp_of_tiff
from ...rasters.colour_spaces import ycbcr_to_rgb
from ...rasters.pixel_size import scale_of
from .array_levels import as_rgb
from .digest import spread
from .slide import Box, Slide

logger = logging.getLogger(__name__)

MAX_STRIPPED_PX = 2**28
"""Largest level with compressed strips of which windows are read, in pixels; a strip is as wide as the image."""
MAX_CHUNK_BYTES = 2**30
"""Largest decoded size of one chunk."""

_COLOURS = {0: "white is zero", 3: "palette", 5: "CMYK", 8: "CIE Lab"}


class TiffSlide(Slide):
    """A tiled TIFF file, with its levels in sub-directories or in further pages.

    Args:
        path: The file.
        in_windows: Whether windows are read; False if it is read once from top to bottom, which is also quick with
            compressed strips.

    Raises:
        ImageError: If it is not a slide that can be read: damaged, a stack, of other channels than grey or RGB ...
    """

    def __init__(self, path: Path, in_windows: bool = True) -> None:
        try:
            self._tiff = tifffile.TiffFile(path)
        except OSError as error:
            raise ImageError(
                f"'{path}' cannot be opened ({error.strerror or error}); check the file."
            ) from error
        except Exception as error:
            raise ImageError(f"'{path}' is not a readable TIFF file ({first_line(error)}).") from error
        try:
            self._pages = self._check(path, MAX_STRIPPED_PX if in_windows else math.inf)
            sizes = [(page.imagelength, page.imagewidth) for page in self._pages]
            scale = _scale(self._tiff, self._pages[0])
        except ImageError:
            self._tiff.close()
            raise
        except Exception as error:
            self._tiff.close()
            raise ImageError(f"'{path}' is damaged ({first_line(error)}); copy or save it again.") from error
        super().__init__(path, sizes, scale, f"tifffile {tifffile.__version__}")
        self._lock = threading.Lock()
        self._damage_logged = True
        try:
            self._check_decodes()
        except ImageError:
            self._tiff.close()
            raise
        self._damage_logged = False

    def _check(self, path: Path, largest_stripped_px: float) -> list[Any]:
        """Return the pages of the levels, the finest first."""
        if not self._tiff.series:
            raise ImageError(f"'{path}' is incomplete, because it has no image; copy the slide again.")
        series = self._tiff.series[0]
        pages = _level_pages(self._tiff)
        first = pages[0]
        if int(first.compression) != 1 and first.compression not in tifffile.TIFF.DECOMPRESSORS:
            raise ImageError(
                f"'{path}' uses the compression {first.compression}, which is not read; save it as JPEG or "
                "deflate, for example with vips."
            )
        if (
            int(first.photometric) in _COLOURS
            or first.dtype != np.uint8
            or first.samplesperpixel not in (1, 3, 4)
        ):
            colours = _COLOURS.get(int(first.photometric), f"{first.samplesperpixel} channels")
            raise ImageError(
                f"'{path}' has {colours} of type {first.dtype}; slides are read as 8-bit grey or RGB: convert it, "
                "for example with QuPath or vips."
            )
        axes = "".join(letter for letter, length in zip(series.axes, series.shape, strict=True) if length > 1)
        if set(axes) - set("YXS"):
            raise ImageError(f"'{path}' is a stack (axes {axes}); save a single grey or RGB plane.")
        orientation = int(first.tags.valueof(274, default=1))
        if orientation != 1:
            raise ImageError(f"'{path}' is stored turned (orientation {orientation}); save it upright.")
        levels = [
            page
            for page in pages
            if page.dtype == first.dtype and page.samplesperpixel == first.samplesperpixel
        ]
        levels.sort(key=lambda page: -page.imagelength)
        for page in levels:
            chunk_px = int(np.prod(page.chunks))
            if int(page.planarconfig) not in (1, 2):
                raise ImageError(f"'{path}' has an unknown order of channels; copy or save it again.")
            is_plain = _is_plain(page)
            if not (page.is_tiled or is_plain) and page.imagelength * page.imagewidth > largest_stripped_px:
                raise ImageError(
                    f"'{path}' is {page.imagewidth} x {page.imagelength} px (width x height) without tiles, which is "
                    "too slow to read in windows; write a tiled copy with 'sampath slide pyramid', and use it."
                )
            if chunk_px > MAX_CHUNK_BYTES and not is_plain:
                raise ImageError(f"'{path}' has a chunk of {chunk_px:,} bytes; the file is damaged.")
            ends = (
                offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False)
            )
            missing = max(ends, default=0) - self._tiff.filehandle.size
            if missing > 0:
                raise ImageError(
                    f"'{path}' is truncated ({missing:,} bytes are missing); copy the slide again."
                )
        return levels

    def _check_decodes(self) -> None:
        """Raise if no chunk of the coarsest level can be decoded, because the other levels are then damaged as well."""
        coarsest = self._pages[-1]
        if _is_plain(coarsest):
            return
        probes = [index for index in spread(len(coarsest.dataoffsets), 4) if self._bytes(coarsest, index)]
        if probes and all(self._decode(coarsest, index) is None for index in probes):
            raise ImageError(
                f"'{self.path}' is damaged: its image data cannot be decoded; copy the slide again."
            )

    def read_level(self, number: int, box: Box) -> UInt8Array:
        """Read a window of one level; see `Slide.read_level`."""
        page = self._pages[number]
        if _is_plain(page):
            return _colours_of(page, self._plain_window(page, box))
        r0, c0, r1, c1 = box
        chunk_h, chunk_w = _chunk_hw(page)
        across = -(-page.imagewidth // chunk_w)
        result = np.empty((r1 - r0, c1 - c0, 3), np.uint8)
        for row in range(r0 // chunk_h, -(-r1 // chunk_h)):
            for col in range(c0 // chunk_w, -(-c1 // chunk_w)):
                top, left = row * chunk_h, col * chunk_w
                chunk = self._chunk(page, row * across + col)
                # Copy the part of the chunk that lies in the window
                y0, x0 = max(r0, top), max(c0, left)
                y1, x1 = min(r1, top + chunk_h), min(c1, left + chunk_w)
                target = result[y0 - r0 : y1 - r0, x0 - c0 : x1 - c0]
                if chunk is None:
                    target[...] = 255
                    continue
                part = chunk[y0 - top : y1 - top, x0 - left : x1 - left]
                if part.shape != target.shape:
                    target[...] = 255
                target[: part.shape[0], : part.shape[1]] = part
        return result

    def _plain_window(self, page: Any, box: Box) -> UInt8Array:
        """Read the rows of a window of a page of `_is_plain`."""
        r0, c0, r1, c1 = box
        channels = page.samplesperpixel
        size = (c1 - c0) * channels
        first = page.dataoffsets[0] + c0 * channels
        result = np.full((r1 - r0, size), 255, np.uint8)
        for row in range(r0, r1):
            values = np.frombuffer(self._read(first + row * page.imagewidth * channels, size), np.uint8)
            result[row - r0, : len(values)] = values
        return result.reshape(r1 - r0, c1 - c0, channels)

    def _chunk(self, page: Any, index: int) -> UInt8Array | None:
        """Decode a chunk to (h, w, 3); None if it is not stored or damaged."""
        separate = int(page.planarconfig) == 2 and page.samplesperpixel > 1
        planes = 3 if separate else 1
        step = len(page.dataoffsets) // page.samplesperpixel if separate else 0
        decoded = []
        for plane in range(planes):
            values = self._decode(page, index + plane * step)
            if values is None:
                return None
            decoded.append(values)
        return _colours_of(page, np.concatenate(decoded, axis=2) if separate else decoded[0])

    def _decode(self, page: Any, index: int) -> UInt8Array | None:
        data = self._bytes(page, index)
        if not data:
            return None
        try:
            values, _, shape = page.decode(
                data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
            )
            return None if values is None else np.asarray(values).reshape(shape[1:])
        except Exception as error:  # noqa: BLE001 - codecs raise anything
            if not self._damage_logged:
                logger.warning("A part of '%s' is damaged and shown white: %s", self.name, first_line(error))
                self._damage_logged = True
            return None

    def _bytes(self, page: Any, index: int) -> bytes:
        """Read the stored bytes of a chunk; empty if it is not stored."""
        if index >= len(page.dataoffsets) or index >= len(page.databytecounts):
            return b""
        offset, count = page.dataoffsets[index], page.databytecounts[index]
        return self._read(offset, count) if count else b""

    def _read(self, offset: int, count: int) -> bytes:
        """Read a part of the file.

        Raises:
            ImageError: If the file cannot be read any more.
        """
        try:
            content = self._read_at(offset, count)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            raise ImageError(
                f"'{self.path}' cannot be read any more ({error}); check the disk and open it again."
            ) from error
        if len(content) < count:  # It was complete when it was opened.
            raise ImageError(
                f"'{self.path}' was truncated while it was open; copy it again, and open it again."
            )
        return content

    def _read_at(self, offset: int, count: int) -> bytes:
        handle = self._tiff.filehandle
        if handle.closed:
            raise ImageError(f"'{self.path}' is closed; open the slide again.")
        if hasattr(os, "pread"):  # Unlike `seek` and `read`, `pread` is safe in several threads.
            return os.pread(handle.fileno(), count, offset)
        with self._lock:
            handle.seek(offset)
            return bytes(handle.read(count))

    def samples(self) -> bytes:
        """Return the stored bytes of the coarsest level and of chunks all over level 0, and all byte counts."""
        if not self._pages[0].is_tiled and math.prod(self.hw) > MAX_STRIPPED_PX:
            return super().samples()  # A strip may be as large as the file.
        counts = [[int(count) for count in page.databytecounts] for page in self._pages]
        digest = hashlib.sha256(json.dumps(counts).encode())
        coarsest = self._pages[-1]
        for page, indices in ((coarsest, range(len(counts[-1]))), (self._pages[0], spread(len(counts[0])))):
            for index in indices:
                digest.update(self._bytes(page, index))
        return digest.digest()

    def _status(self) -> tuple[int, ...] | None:
        """Return what changes when the open file is written to; another file at its path does not matter."""
        if self._tiff.filehandle.closed:
            return None
        status = os.fstat(self._tiff.filehandle.fileno())
        return status.st_size, status.st_mtime_ns

    def close(self) -> None:
        """Close the file."""
        self._tiff.close()


def _colours_of(page: Any, values: UInt8Array) -> UInt8Array:
    """Convert decoded values (h, w, C) of a page to RGB.

    Image codecs such as JPEG convert the colours themselves, except in Aperio's older files, which state RGB.
    """
    rgb = as_rgb(values)
    by_codec = page.compression in tifffile.TIFF.IMAGE_COMPRESSIONS
    is_ycbcr = page.photometric == tifffile.PHOTOMETRIC.YCBCR and not by_codec
    if values.shape[-1] >= 3 and (is_ycbcr or page.compression == tifffile.COMPRESSION.APERIO_JP2000_YCBC):
        return ycbcr_to_rgb(rgb)
    return rgb


def _is_plain(page: Any) -> bool:
    """Return whether the rows of a page are stored one after another without compression."""
    return bool(
        not page.is_tiled
        and int(page.compression) == int(page.predictor) == int(page.fillorder) == int(page.planarconfig) == 1
        and page.is_contiguous
    )


def _chunk_hw(page: Any) -> tuple[int, int]:
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def _level_pages(tiff: Any) -> list[Any]:
    """Return the pages of the levels; if the finest level follows a coarser one, it is another series for tifffile."""
    first = tiff.series[0].keyframe
    pages = [level.keyframe for level in tiff.series[0].levels]

    def is_same_picture(page: Any) -> bool:
        factor = page.imagewidth / first.imagewidth
        tolerance = factor * (1 + first.imagelength / first.imagewidth)  # Sizes of levels are rounded.
        return bool(abs(page.imagelength - first.imagelength * factor) <= tolerance)

    others = [level.keyframe for series in tiff.series[1:] for level in series.levels]
    others = [page for page in others if is_same_picture(page)]
    if all(page.imagewidth <= first.imagewidth for page in others):
        return pages
    return sorted(pages + others, key=lambda page: -page.imagewidth)


def _scale(tiff: Any, page: Any) -> Scale:
    """Return the size of a pixel of a page, with a remark if the file states the resolution of a printer."""
    scale = mpp_of_tiff(tiff, page)
    if scale == Scale() and "XResolution" in page.tags:
        x, y = page.get_resolution("micrometer")
        return scale_of((1 / x, 1 / y), "resolution tags") if x and y else scale
    return scale
