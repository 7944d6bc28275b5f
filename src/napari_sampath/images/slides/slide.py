"""The contract of slide readers: levels, scale and identity of a slide, and reading of windows at any step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...arrays import UInt8Array
from ...errors import ImageError
from ...rasters import Scale
from .digest import digest_of, spread
from .indexing import read_index

Box = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in pixels; r1 and c1 are exclusive."""

_BLOCK_PX = 2**22
"""Largest number of pixels of a level that are resampled at a time: a few megapixels."""
_WINDOW_PX, _COARSE_PX = 256, 512
"""Sides of the windows of level 0 and of the coarsest level that identify a slide."""
_OVERVIEW_PX = 2**26
"""Size in pixels of the coarsest level from which reading an overview takes seconds."""
_NO_OVERVIEW = (
    "it has no coarse levels, so overviews take long; 'sampath slide pyramid' writes a copy with them"
)
_SAME = 1e-3
"""Relative difference below which two scale factors count as equal."""


@dataclass(frozen=True, slots=True)
class Level:
    """One resolution stored in a slide."""

    hw: tuple[int, int]
    """Size (H, W) in pixels of the level."""
    factor: float
    """Level-0 pixels per pixel of this level, at least 1; a whole number wherever the sizes allow one."""


class Slide(ABC):
    """A slide that is read window by window; safe to use from several threads.

    A slide is also an array of shape (H, W, 3) and type uint8: slicing reads level 0, so that a slide can be passed
    wherever windows of an image are taken.

    Args:
        path: The file, or folder, used in messages.
        sizes: Size (H, W) of each level, the finest first.
        scale: Size of a level-0 pixel, with a remark if a stated size is not used.
        reader: Name and version of the reader, such as "tifffile 2026.3.3".

    Attributes:
        name: Name of the slide, used in messages and names of exported files.
        levels: The levels, the finest first, in ascending order of their factor.
        mpp: Micrometres per level-0 pixel; None if unknown. May be set if the file is wrong.
        stated_mpp: The same as the file states it.
        remarks: Clauses for the user, such as why a stated scale is not used.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(
        self,
        path: Path,
        sizes: Sequence[tuple[int, int]],
        scale: Scale,
        reader: str,
    ) -> None:
        self.path = path
        self.name = path.name.removesuffix(".zarr") if path.suffix == ".zarr" else path.stem
        self.mpp = self.stated_mpp = scale.mpp
        self.reader = reader
        self.remarks: tuple[str, ...] = (scale.remark,) if scale.remark else ()
        if math.prod(sizes[-1]) > _OVERVIEW_PX:
            self.remarks += (_NO_OVERVIEW,)
        self.levels = tuple(Level(hw, exact_factor(sizes[0], hw)) for hw in sizes)
        self._stamp = self._status()

    @property
    def hw(self) -> tuple[int, int]:
        """Size (H, W) of level 0 in pixels."""
        return self.levels[0].hw

    @property
    def note(self) -> str | None:
        """Sentence for the user with the remarks; None if there are none."""
        return f"'{self.name}': {'; '.join(self.remarks)}." if self.remarks else None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, 3), the shape of level 0."""
        return (*self.hw, 3)

    @cached_property
    def digest(self) -> str:
        """Identity of the slide (32 hex digits), independent of its name and place."""
        return digest_of([level.hw for level in self.levels], self.samples())

    def __len__(self) -> int:
        return self.hw[0]

    def __getitem__(self, key: Any) -> UInt8Array:
        """Read a window of level 0 with numpy's basic indexing."""
        return read_index(key, self.hw, self.read)

    def read(self, box: Box, step: float = 1) -> UInt8Array:
        """Read a window, one pixel for each `step` x `step` level-0 pixels.

        The coarsest level that is fine enough is read, and its pixels are averaged by area; pixels at the right and
        bottom edge of the box are averages of the part that lies in the box.

        Args:
            box: (r0, c0, r1, c1) in level-0 pixels, inside the slide and not empty.
            step: Level-0 pixels per side of a pixel of the result, 1 or more; usually a power of two.

        Returns:
            (ceil((r1 - r0) / step), ceil((c1 - c0) / step), 3) uint8 RGB.

        Raises:
            ImageError: If the box is empty or not inside the slide, or the file cannot be read any more.
        """
        r0, c0, r1, c1 = box
        if not (0 <= r0 < r1 <= self.hw[0] and 0 <= c0 < c1 <= self.hw[1] and step >= 1):
            raise ImageError(
                f"The window {box} at step {step} of '{self.name}' is empty or outside its {self.hw[1]} x {self.hw[0]} "
                "px (width x height); give (r0, c0, r1, c1) inside, and a step of at least 1."
            )
        step = min(step, max(r1 - r0, c1 - c0))
        number = self.level_for(step)
        factor = self.levels[number].factor
        if step == 1 and factor == 1:
            return self.read_level(0, box)
        height, width = math.ceil((r1 - r0) / step), math.ceil((c1 - c0) / step)
        result = np.empty((height, width, 3), np.uint8)
        # Resample block by block, so that a slide without coarse levels needs little memory
        side = max(1, int(math.sqrt(_BLOCK_PX) * factor / step))
        for top in range(0, height, side):
            for left in range(0, width, side):
                bottom, right = min(top + side, height), min(left + side, width)
                edges = (
                    (r0 + top * step) / factor,
                    (c0 + left * step) / factor,
                    min(r0 + bottom * step, r1) / factor,
                    min(c0 + right * step, c1) / factor,
                )
                scale = step / factor
                result[top:bottom, left:right] = self._averaged(
                    number, edges, scale, (bottom - top, right - left)
                )
        return result

    def level_for(self, step: float) -> int:
        """Return the number of the coarsest level that has at least one pixel for each `step` level-0 pixels."""
        fine = [number for number, level in enumerate(self.levels) if level.factor <= step * (1 + _SAME)]
        return fine[-1] if fine else 0

    def _averaged(
        self, number: int, edges: tuple[float, float, float, float], scale: float, hw: tuple[int, int]
    ) -> UInt8Array:
        """Average pixels of a level by area.

        Args:
            number: Number of the level.
            edges: (r0, c0, r1, c1) in pixels of the level, fractional.
            scale: Pixels of the level per side of a pixel of the result; may be slightly less than 1.
            hw: Size (h, w) of the result.
        """
        level_h, level_w = self.levels[number].hw
        # Read the whole pixels that the window touches
        r0, c0 = (
            min(math.floor(edges[0] + _SAME), level_h - 1),
            min(math.floor(edges[1] + _SAME), level_w - 1),
        )
        r1, c1 = min(math.ceil(edges[2] - _SAME), level_h), min(math.ceil(edges[3] - _SAME), level_w)
        pixels = self.read_level(number, (r0, c0, max(r1, r0 + 1), max(c1, c0 + 1)))
        if scale == 1 and edges[0] == r0 and edges[1] == c0 and pixels.shape[:2] == hw:
            return pixels
        # Repeat the edge where the last pixels of the result reach beyond the box or the level
        bottom, right = edges[0] - r0 + hw[0] * scale, edges[1] - c0 + hw[1] * scale
        missing = (
            max(0, math.ceil(bottom - _SAME) - pixels.shape[0]),
            max(0, math.ceil(right - _SAME) - pixels.shape[1]),
        )
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        # Average by area; Pillow weighs fractional pixels at the borders
        region = (
            edges[1] - c0,
            edges[0] - r0,
            min(right, pixels.shape[1]),
            min(bottom, pixels.shape[0]),
        )
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image.resize((hw[1], hw[0]), Image.Resampling.BOX, box=region))

    @property
    def is_unchanged(self) -> bool:
        """False if the file was written to since it was opened."""
        return self._stamp is None or self._status() in (None, self._stamp)

    def check_unchanged(self) -> None:
        """Raise an `ImageError` if the file was written to since it was opened, so that its pixels may be mixed."""
        if not self.is_unchanged:
            raise ImageError(
                f"'{self.path}' was changed while it was read; wait until it is complete, then open the slide, or run "
                "the command, again."
            )

    def _status(self) -> tuple[int, ...] | None:
        """Return what changes when the file is written to; None if that is unknown, as for a folder or a moved file."""
        if not self.path.is_file():
            return None
        status = self.path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns

    @abstractmethod
    def read_level(self, number: int, box: Box) -> UInt8Array:
        """Read a window of one level.

        Parts that are not stored, or damaged, are white; damage is logged once.

        Args:
            number: Number of the level.
            box: (r0, c0, r1, c1) in pixels of the level, inside it.

        Returns:
            (r1 - r0, c1 - c0, 3) uint8 RGB.

        Raises:
            ImageError: If the file cannot be read any more.
        """

    def samples(self) -> bytes:
        """Return bytes that identify the slide: pixels of the coarsest level, and of windows all over level 0."""
        coarsest = len(self.levels) - 1
        height, width = self.levels[coarsest].hw
        parts = [self.read_level(coarsest, (0, 0, min(height, _COARSE_PX), min(width, _COARSE_PX)))]
        rows, cols = (-(-length // _WINDOW_PX) for length in self.hw)
        for index in spread(rows * cols):
            r0, c0 = index // cols * _WINDOW_PX, index % cols * _WINDOW_PX
            box = r0, c0, min(r0 + _WINDOW_PX, self.hw[0]), min(c0 + _WINDOW_PX, self.hw[1])
            parts.append(self.read_level(0, box))
        return b"".join(part.tobytes() for part in parts)

    def close(self) -> None:  # noqa: B027 - most readers hold a file, arrays do not
        """Close the file; the slide cannot be read afterwards."""

    def __enter__(self) -> Slide:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def exact_factor(level0_hw: tuple[int, int], hw: tuple[int, int]) -> float:
    """Return the scale of a level: a whole number if both sizes agree with it up to rounding, otherwise their ratio."""
    ratio = max(level0_hw) / hw[level0_hw.index(max(level0_hw))]
    whole = max(1, round(ratio))
    explained = all(abs(full / whole - side) < 1 for full, side in zip(level0_hw, hw, strict=True))
    return float(whole) if explained else ratio
