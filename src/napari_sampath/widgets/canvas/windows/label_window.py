"""The part of an image that its label layers hold, and conversions between its pixels and those of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ....annotations import Box
from ....arrays import BoolArray, LocalMask

WHOLE_PX = 8192
"""Maximum longer side, in pixels, of the label layers and of images that they hold as a whole."""
CANVAS_RATIO = 1.5
"""Size of a window in relation to the canvas."""
MARGIN = 1.2
"""Minimum size of a window in relation to the view."""
ROUND_PX = 256
"""Sizes of windows are multiples of this, so that they rarely change with the size of the canvas."""
MAX_STEP = 256


@dataclass(frozen=True, slots=True)
class LabelWindow:
    """A box of an image, of which each `step` x `step` pixels are one pixel of the label layers."""

    row: int
    """First row in image pixels, a multiple of `step`."""
    col: int
    """First column in image pixels, a multiple of `step`."""
    step: int
    """Image pixels per side of a window pixel, a power of two."""
    shape: tuple[int, int]
    """Size (h, w) in window pixels."""
    hw: tuple[int, int]
    """Size (H, W) of the image."""

    @property
    def box(self) -> Box:
        """The box (r0, c0, r1, c1) in image pixels."""
        return self.covered((0, 0, *self.shape))

    @property
    def whole(self) -> bool:
        """Whether the window is the image, pixel by pixel."""
        return self.step == 1 and self.shape == self.hw

    @property
    def origin(self) -> tuple[float, float]:
        """Centre (row, col) of the first window pixel, in image pixels."""
        shift = (self.step - 1) / 2
        return self.row + shift, self.col + shift

    def contains(self, box: Box) -> bool:
        """Return whether a box (r0, c0, r1, c1) in image pixels lies inside the window."""
        r0, c0, r1, c1 = self.box
        return r0 <= box[0] and c0 <= box[1] and box[2] <= r1 and box[3] <= c1

    def part(self, box: Box) -> Box | None:
        """Return the box of the window pixels that a box in image pixels touches; None if it touches none."""
        height, width = self.shape
        r0, c0 = (box[0] - self.row) // self.step, (box[1] - self.col) // self.step
        r1, c1 = -((self.row - box[2]) // self.step), -((self.col - box[3]) // self.step)
        part = max(r0, 0), max(c0, 0), min(r1, height), min(c1, width)
        return part if part[0] < part[2] and part[1] < part[3] else None

    def covered(self, part: Box) -> Box:
        """Return the box in image pixels of a box in window pixels, clipped to the image."""
        r0, c0, r1, c1 = part
        return (
            self.row + r0 * self.step,
            self.col + c0 * self.step,
            min(self.row + r1 * self.step, self.hw[0]),
            min(self.col + c1 * self.step, self.hw[1]),
        )

    def pixel(self, row: int, col: int) -> tuple[int, int]:
        """Return the image pixel (row, col) at the centre of a window pixel, inside the image."""
        middle = self.step // 2
        at_row, at_col = self.row + row * self.step + middle, self.col + col * self.step + middle
        return min(at_row, self.hw[0] - 1), min(at_col, self.hw[1] - 1)

    def moved(self, other: LabelWindow, row: float, col: float) -> tuple[float, float]:
        """Convert a position (row, col) in pixels of this window to pixels of another one."""
        (top, left), (to_top, to_left) = self.origin, other.origin
        return (top + row * self.step - to_top) / other.step, (left + col * self.step - to_left) / other.step

    def reduce(self, mask: LocalMask) -> LocalMask:
        """Convert a mask from image pixels to window pixels; each pixel that the mask touches is part of it.

        The result may reach beyond the window.
        """
        step, own = self.step, mask.step
        row, col = mask.row - self.row, mask.col - self.col
        bitmap = mask.bitmap
        if own > step:
            bitmap = bitmap.repeat(own // step, axis=0).repeat(own // step, axis=1)
        elif own < step:
            ratio = step // own
            top, left = row % step // own, col % step // own
            height, width = bitmap.shape
            pads = (top, -(top + height) % ratio), (left, -(left + width) % ratio)
            padded = np.pad(bitmap, pads)
            blocks = padded.reshape(padded.shape[0] // ratio, ratio, padded.shape[1] // ratio, ratio)
            bitmap = np.asarray(blocks.any(axis=(1, 3)))
        return LocalMask(row // step, col // step, bitmap)

    def enlarge(self, bitmap: BoolArray, part: Box) -> LocalMask:
        """Return the True pixels of a box in window pixels as a mask in image pixels, with the step of the window."""
        tight = LocalMask.from_dense(bitmap, part[0], part[1])
        return LocalMask(
            self.row + tight.row * self.step, self.col + tight.col * self.step, tight.bitmap, self.step
        )


def choose_window(
    hw: tuple[int, int], view: Box, canvas_hw: tuple[int, int], largest_px: int = WHOLE_PX
) -> LabelWindow:
    """Choose the window for a view: the whole image if it is small, else the view with a margin.

    A window pixel is as large as a screen pixel or up to twice as large, but not smaller than an image pixel.

    Args:
        hw: Size (H, W) of the image in pixels.
        view: Box (r0, c0, r1, c1) in view, in image pixels.
        canvas_hw: Size (H, W) of the canvas in screen pixels.
        largest_px: Maximum longer side of the window, and of images that are held as a whole.
    """
    if max(hw) <= largest_px:
        return LabelWindow(0, 0, 1, hw, hw)
    sides = [
        min(largest_px, math.ceil(CANVAS_RATIO * length / ROUND_PX) * ROUND_PX) or ROUND_PX
        for length in canvas_hw
    ]
    spans = view[2] - view[0], view[3] - view[1]
    step = 1
    while step < MAX_STEP and any(
        min(span * MARGIN, length) > side * step for span, length, side in zip(spans, hw, sides, strict=True)
    ):
        step *= 2
    starts, shape = [], []
    for low, high, length, side in zip(view[:2], view[2:], hw, sides, strict=True):
        count = -(-length // step)
        size = min(count, max(side, -(-(high - low) // step)))
        start = round(((low + high) / 2 - size * step / 2) / step)
        starts.append(min(max(start, 0), count - size) * step)
        shape.append(size)
    return LabelWindow(starts[0], starts[1], step, (shape[0], shape[1]), hw)
