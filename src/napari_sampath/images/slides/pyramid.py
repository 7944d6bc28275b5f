"""Write a slide as a tiled TIFF pyramid, for files without coarse levels or without tiles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, BinaryIO

import numpy as np
import tifffile
from PIL import Image

from ...arrays import UInt8Array
from ...files import write_atomically
from ...jobs import Job, Progress
from .array_levels import ArraySlide
from .slide import Slide

_TILE_PX = 512
_REDUCTION = 4
"""Pixels of a level per side of a pixel of the next coarser level."""
_COARSEST_PX = 2048
"""Longest side of the coarsest level."""
_JPEG_LEVEL = 90
_BIG_BYTES = 2**31
"""Size of the pixels in bytes from which a BigTIFF is written."""
_POLL_S = 0.2
"""Interval of progress reports in seconds."""


def pyramid_job(slide: Slide, path: Path) -> Job[None]:
    """Make a job that writes a copy of a slide with tiles and with levels that are 1/4, 1/16 ... as large.

    The copy is compressed as JPEG of quality 90, so its pixels differ slightly. It has the scale of the slide, and no
    other metadata. Each row of the slide is read once; meanwhile, a temporary file beside the copy holds 1/16 of its
    pixels without compression.

    Args:
        slide: The slide.
        path: The TIFF file to write.

    Raises:
        ImageError: If the slide cannot be read any more.
        StorageError: If the copy cannot be written; a file at `path` is then unchanged.
    """
    writer = _Writer(slide, path.absolute().parent)
    with ThreadPoolExecutor(1, "pyramid") as pool:
        written = pool.submit(write_atomically, path, writer.write)
        try:
            while not written.done():
                wait([written], timeout=_POLL_S)
                yield Progress(writer.rows, writer.all_rows, f"Writing '{path.name}'", "rows")
        finally:
            writer.is_cancelled = True
        written.result()


class _CancelledError(Exception):
    """The job was closed."""


class _Writer:
    """Writes the levels of a copy in another thread than that of the job.

    Attributes:
        rows: Number of rows of all levels that are written.
        all_rows: Number of rows of all levels.
        is_cancelled: Set by the job to stop writing.
    """

    def __init__(self, slide: Slide, folder: Path) -> None:
        self._slide = slide
        self._folder = folder
        self._steps = [1]
        while max(slide.hw) / self._steps[-1] > _COARSEST_PX:
            self._steps.append(self._steps[-1] * _REDUCTION)
        self.rows = 0
        self.all_rows = sum(self._size(step)[0] for step in self._steps)
        self.is_cancelled = False

    def _size(self, step: int) -> tuple[int, int]:
        height, width = self._slide.hw
        return -(-height // step), -(-width // step)

    def write(self, stream: BinaryIO) -> None:
        """Write the copy."""
        height, width = self._slide.hw
        with (
            TemporaryFile(dir=self._folder) as file,
            tifffile.TiffWriter(stream, bigtiff=3 * height * width > _BIG_BYTES) as tiff,
        ):
            self._write_level(tiff, self._finest(file), 1)
            file.flush()
            # Mapped for reading only: if the disk is full, writing to mapped memory would end the process.
            reduced = np.memmap(file, np.uint8, "r", shape=(*self._size(_REDUCTION), 3))
            for step in self._steps[1:]:
                self._write_level(tiff, self._coarser(reduced, step), step)

    def _write_level(self, tiff: tifffile.TiffWriter, bands: Iterable[UInt8Array], step: int) -> None:
        mpp = self._slide.mpp
        scale: dict[str, Any] = {}
        if mpp is not None:
            scale = {"resolution": (1e4 / (mpp * step),) * 2, "resolutionunit": "CENTIMETER"}
        tiff.write(
            self._tiles(bands),
            shape=(*self._size(step), 3),
            dtype=np.uint8,
            tile=(_TILE_PX, _TILE_PX),
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": _JPEG_LEVEL},
            subfiletype=int(step > 1),
            metadata=None,
            **scale,
        )

    def _finest(self, file: IO[bytes]) -> Iterator[UInt8Array]:
        """Yield the rows of the slide in bands as high as a tile, and write them reduced for the other levels."""
        height, width = self._slide.hw
        for top in range(0, height, _TILE_PX):
            band = self._slide.read((top, 0, min(top + _TILE_PX, height), width))
            file.write(np.asarray(Image.fromarray(band).reduce(_REDUCTION)).tobytes())
            yield band

    def _coarser(self, reduced: UInt8Array, step: int) -> Iterator[UInt8Array]:
        """Yield the rows of a coarser level in bands."""
        source, factor = ArraySlide([reduced]), step // _REDUCTION
        height, width = source.hw
        for top in range(0, height, _TILE_PX * factor):
            yield source.read((top, 0, min(top + _TILE_PX * factor, height), width), factor)

    def _tiles(self, bands: Iterable[UInt8Array]) -> Iterator[UInt8Array]:
        """Cut bands into tiles; those at the right and bottom edge repeat their last pixels."""
        for band in bands:
            if self.is_cancelled:
                raise _CancelledError
            self.rows += len(band)
            for left in range(0, band.shape[1], _TILE_PX):
                tile = band[:, left : left + _TILE_PX]
                missing = (0, _TILE_PX - tile.shape[0]), (0, _TILE_PX - tile.shape[1]), (0, 0)
                yield np.pad(tile, missing, mode="edge")
