"""Mapping of the pixels of a file's image to the pixels of the image that its labels are imported to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import LocalMask
from ...errors import ImageError
from ..format import Choice, ImportChoiceError, ReadOptions

if TYPE_CHECKING:
    import numpy.typing as npt

    from ...arrays import FloatArray, IntArray

_MAX_OFFSET = 10_000_000
EMPTY = LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))


@dataclass(frozen=True, slots=True)
class Placement:
    """Position (x, y) in the image = position in the file * `scale_xy` + `offset_xy`, clipped to the image."""

    hw: tuple[int, int] | None
    """Size (H, W) of the image; None if it is unknown."""
    scale_xy: tuple[float, float] = (1.0, 1.0)
    offset_xy: tuple[float, float] = (0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether all positions stay the same."""
        return self.scale_xy == (1.0, 1.0) and self.offset_xy == (0.0, 0.0)

    def points(self, points: npt.ArrayLike) -> FloatArray:
        """Convert points (N, 2) of (x, y)."""
        placed: FloatArray = np.asarray(points, dtype=np.float64) * self.scale_xy + self.offset_xy
        return placed

    def mask(self, mask: LocalMask) -> LocalMask:
        """Convert a mask by nearest-neighbour sampling, and clip it to the image."""
        rows, cols = mask.slices
        (top, bottom), (left, right) = self.span(rows, 1), self.span(cols, 0)
        if bottom <= top or right <= left:
            return EMPTY
        if self.is_identity:
            part = mask.bitmap[top - mask.row : bottom - mask.row, left - mask.col : right - mask.col]
            return LocalMask.from_dense(part, top, left)
        source = np.ix_(self.source(top, bottom, 1) - mask.row, self.source(left, right, 0) - mask.col)
        inside = [
            (index >= 0) & (index < size) for index, size in zip(source, mask.bitmap.shape, strict=True)
        ]
        clipped = [index.clip(0, size - 1) for index, size in zip(source, mask.bitmap.shape, strict=True)]
        return LocalMask.from_dense(mask.bitmap[clipped[0], clipped[1]] & inside[0] & inside[1], top, left)

    def values(self, values: Any) -> Any:
        """Convert a label map (h, w) by nearest-neighbour sampling; pixels outside it are 0."""
        if self.hw is None or (self.is_identity and tuple(values.shape) == self.hw):
            return values
        array = np.asarray(values[:])
        rows, cols = np.ix_(self.source(0, self.hw[0], 1), self.source(0, self.hw[1], 0))
        inside = (rows >= 0) & (rows < array.shape[0]) & (cols >= 0) & (cols < array.shape[1])
        return np.where(
            inside, array[rows.clip(0, array.shape[0] - 1), cols.clip(0, array.shape[1] - 1)], 0
        ).astype(array.dtype)

    def source(self, start: int, stop: int, axis: int) -> IntArray:
        """Return the file's pixel under the centre of each image pixel from `start` to `stop`; axis 0 is x."""
        centres = np.arange(start, stop) + 0.5
        pixels: IntArray = np.floor((centres - self.offset_xy[axis]) / self.scale_xy[axis]).astype(np.int64)
        return pixels

    def span(self, pixels: slice, axis: int) -> tuple[int, int]:
        """Return the first and the last image pixel (exclusive) of a range of the file's pixels; axis 0 is x."""
        low = math.floor(pixels.start * self.scale_xy[axis] + self.offset_xy[axis])
        high = math.ceil(pixels.stop * self.scale_xy[axis] + self.offset_xy[axis])
        limit = high if self.hw is None else self.hw[1 - axis]
        return max(low, 0), min(high, limit)


def place(file_hw: tuple[int, int] | None, options: ReadOptions, path: Path) -> Placement:
    """Compare the size of a file's image with the image.

    Args:
        file_hw: Size (H, W) of the image according to the file; None if it is not stated.
        options: The size of the image, the scale and the offset.
        path: For error messages.

    Raises:
        ImportChoiceError: If the sizes differ and the options do not specify what to do.
        ImageError: If the scale or the offset is not possible.
    """
    if file_hw is not None and 0 in file_hw:
        raise ImageError(
            f"'{path}' is {file_hw[1]} x {file_hw[0]} px (width x height); give a file with pixels."
        )
    offset = options.offset_xy or (0.0, 0.0)
    if not all(abs(value) <= _MAX_OFFSET for value in offset):
        raise ImageError(
            f"The offset is {offset[0]:g} {offset[1]:g}; give two numbers of pixels up to {_MAX_OFFSET:,}."
        )
    scale, hw = options.scale, options.hw
    if isinstance(scale, int | float):
        if not (math.isfinite(scale) and 1e-3 <= scale <= 1e3):
            raise ImageError(f"The scale is {scale:g}; give a factor from 0.001 to 1000.")
        return Placement(hw, (float(scale), float(scale)), offset)
    if file_hw is None or hw is None:
        if scale == "fit":
            raise ImageError(f"'{path}' does not state the size of its image; give the scale as a number.")
        return Placement(hw or file_hw, offset_xy=offset)
    if file_hw == hw or (scale is None and options.offset_xy is not None):
        return Placement(hw, offset_xy=offset)
    ratio = hw[1] / file_hw[1], hw[0] / file_hw[0]
    # Each side of a resized image is rounded.
    fits = abs(ratio[0] * file_hw[0] - hw[0]) <= max(1.0, ratio[0]) or abs(
        ratio[1] * file_hw[1] - hw[1]
    ) <= max(1.0, ratio[1])
    if scale == "fit" and fits:
        return Placement(hw, ratio, offset)
    sizes = (
        f"'{path}' is {file_hw[1]} x {file_hw[0]} px, but the image is {hw[1]} x {hw[0]} px (width x height)"
    )
    if scale == "fit":
        raise ImageError(f"{sizes}, which has other proportions; choose the file of this image.")
    choices = [Choice(f"Scale by {ratio[0]:.4g}", {"scale": "fit"}, "--scale fit")] if fits else []
    choices.append(Choice("Same position", {"offset_xy": (0.0, 0.0)}, "--offset X Y"))
    raise ImportChoiceError(sizes, "choose the file of this image", choices)
