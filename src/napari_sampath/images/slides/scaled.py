"""A slide at another scale, as an array."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...arrays import UInt8Array
from .indexing import read_index
from .slide import Slide


class ScaledSlide:
    """A slide whose pixels are `factor` level-0 pixels wide, as an array of shape (H, W, 3) and type uint8.

    Slicing returns the same pixels for the same window. If the factor is not a whole number, overlapping windows may be
    shifted against each other by a fraction of a pixel.

    Args:
        slide: The slide.
        factor: Level-0 pixels per side of a pixel, above 0; below 1 pixels are repeated.
    """

    dtype = np.dtype(np.uint8)
    ndim = 3

    def __init__(self, slide: Slide, factor: float) -> None:
        self.slide = slide
        self.factor = factor
        self.shape = (math.ceil(slide.hw[0] / factor), math.ceil(slide.hw[1] / factor), 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> UInt8Array:
        return read_index(key, self.shape[:2], lambda box: self.window(*box))

    def window(self, r0: int, c0: int, r1: int, c1: int) -> UInt8Array:
        """Read the pixels of a box of this scale, which must lie inside; (r1 - r0, c1 - c0, 3) uint8."""
        factor, (height, width) = self.factor, self.slide.hw
        if factor < 1:
            rows = np.minimum((np.arange(r0, r1) * factor).astype(np.int64), height - 1)
            cols = np.minimum((np.arange(c0, c1) * factor).astype(np.int64), width - 1)
            stored = self.slide.read((int(rows[0]), int(cols[0]), int(rows[-1]) + 1, int(cols[-1]) + 1))
            repeated: UInt8Array = stored[rows[:, None] - rows[0], cols - cols[0]]
            return repeated
        top, left = min(round(r0 * factor), height - 1), min(round(c0 * factor), width - 1)
        bottom = min(top + math.ceil((r1 - r0) * factor), height)
        right = min(left + math.ceil((c1 - c0) * factor), width)
        pixels = self.slide.read((top, left, bottom, right), factor)
        # Rounding can add or drop the last row or column
        missing = max(0, r1 - r0 - pixels.shape[0]), max(0, c1 - c0 - pixels.shape[1])
        if any(missing):
            pixels = np.pad(pixels, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
        return pixels[: r1 - r0, : c1 - c0]
