"""Coordinates and tiles: image pixels, encoder input, (row, col) and (x, y).

All conversions of coordinates are here. Pixels are addressed as in SAM: pixel (row i, column j) is (x=j, y=i), and its
centre lies at +0.5; the prompt encoder adds that half pixel itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .errors import PromptError

INPUT_PX = 1024
"""Side of the square input of an encoder with SAM's interface, in pixels."""


def rc_to_xy(points_rc: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Convert (..., 2) points from numpy's (row, col) to SAM's (x, y)."""
    return np.asarray(points_rc, dtype=np.float64)[..., ::-1]


xy_to_rc = rc_to_xy
"""Convert (x, y) to (row, col); the same reversal of the last axis."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A window of an image and its place in the encoder's square input.

    The window is scaled so that its longer side is `input_px` and padded at the bottom and right with
    zeros (Segment Anything, `ResizeLongestSide`).
    """

    top: int
    """First image row of the window."""
    left: int
    """First image column of the window."""
    height: int
    """Rows of the window, in image pixels."""
    width: int
    """Columns of the window, in image pixels."""
    input_px: int = INPUT_PX
    """Side of the square input."""
    stretched: bool = False
    """True if the window is stretched to fill the square without padding (MedSAM)."""

    @property
    def hw(self) -> tuple[int, int]:
        """Size (H, W) of the window in image pixels."""
        return self.height, self.width

    @property
    def input_hw(self) -> tuple[int, int]:
        """Size (H, W) of the resized window inside the square input, before padding."""
        if self.stretched:
            return self.input_px, self.input_px
        scale = self.input_px / max(self.height, self.width)
        # Keep a pixel of windows thinner than 1/2048 of their length.
        return max(1, int(self.height * scale + 0.5)), max(1, int(self.width * scale + 0.5))

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index of the window in an image array."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def to_input(self, points_xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map (..., 2) points (x, y) from image pixels to the square input; float64."""
        points = np.asarray(points_xy, dtype=np.float64)
        height, width = self.input_hw
        scale = np.array([width / self.width, height / self.height])
        mapped: npt.NDArray[np.float64] = (points - np.array([self.left, self.top])) * scale
        return mapped

    def to_image(self, points_xy: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Map (..., 2) points (x, y) from the square input back to image pixels; float64."""
        points = np.asarray(points_xy, dtype=np.float64)
        height, width = self.input_hw
        scale = np.array([self.width / width, self.height / height])
        mapped: npt.NDArray[np.float64] = points * scale + np.array([self.left, self.top])
        return mapped

    def contains(self, points_xy: npt.ArrayLike) -> bool:
        """Return True if all (..., 2) points (x, y) lie in the window."""
        x, y = np.moveaxis(np.asarray(points_xy, dtype=np.float64), -1, 0)
        inside_x = (x >= self.left) & (x <= self.left + self.width)
        inside_y = (y >= self.top) & (y <= self.top + self.height)
        return bool((inside_x & inside_y).all())


def whole(hw: tuple[int, int], input_px: int = INPUT_PX) -> Frame:
    """Return the frame that covers a whole image of size (H, W)."""
    return Frame(0, 0, hw[0], hw[1], input_px)


def check_inside(hw: tuple[int, int], points_xy: npt.ArrayLike) -> None:
    """Raise a `PromptError` naming the first of the (N, 2) points (x, y) outside an image of size (H, W)."""
    for x, y in np.asarray(points_xy, dtype=np.float64).reshape(-1, 2):
        if not (0 <= x <= hw[1] and 0 <= y <= hw[0]):
            raise PromptError(
                f"The prompt at x={x:g}, y={y:g} lies outside the image of {hw[1]} x {hw[0]} px (width x height); "
                "place it inside."
            )
