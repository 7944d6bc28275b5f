"""Random crops of training images, rendered with tensor operations on any device."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ...arrays import FloatArray, IntArray
from ..data.instances import InstanceImage
from ..data.stain import StainChange

T = TypeVar("T", FloatArray, Tensor)

_MIN_BLUR_PX = 0.15
"""Smallest standard deviation of a blur that changes pixels visibly."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A region of an image, and how it is rotated, scaled, flipped, blurred and re-stained.

    The region is scaled to `around_hw`; the crop is a rectangle of `hw` in it, rotated about the centre.
    """

    source: InstanceImage
    window: tuple[slice, slice]
    """Rows and columns of the region."""
    around_hw: tuple[int, int]
    """Size of the scaled region, in pixels of the frame."""
    hw: tuple[int, int]
    """Size of the crop, in pixels of the frame, multiples of 4."""
    angle: float
    """Angle of rotation, in radians."""
    blur_px: float
    """Standard deviation of the blur, in pixels of the image."""
    transposed: bool
    """Whether rows and columns are exchanged, before the flips; only if the crop is a square."""
    flipped: tuple[bool, bool]
    """Whether the order of the rows and of the columns is reversed."""
    stain: StainChange

    def ids(self) -> IntArray:
        """Return the object ids (h / 4, w / 4) at the centres of the cells of the logit grid."""
        height, width = self.hw
        x, y = np.meshgrid(np.arange(2.0, width, 4), np.arange(2.0, height, 4))
        x, y = self._in_region(x, y)
        region = self.source.instances[self.window]
        rows = y.astype(int).clip(0, region.shape[0] - 1)
        cols = x.astype(int).clip(0, region.shape[1] - 1)
        return np.ascontiguousarray(region[rows, cols])

    def render(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """Return the pixels of the crop, (h, w, 3) uint8 RGB.

        Args:
            image: (H, W, 3) uint8 RGB, the pixels of `source` on the device of the result.
            generator: Random number generator on this device, for noise.
        """
        # Blur the region; also against aliasing, if it is shrunk.
        region = image[self.window].permute(2, 0, 1).float()
        height, width = region.shape[1:]
        factors = height / self.around_hw[0], width / self.around_hw[1]
        sigmas = [math.sqrt(self.blur_px**2 + max(0.0, factor**2 - 1) / 6) for factor in factors]
        region = _blurred(region, sigmas)
        # Sample it at the centres of the pixels of the crop.
        rows, cols = (torch.arange(side, device=image.device) + 0.5 for side in self.hw)
        x, y = self._in_region(cols[None, :], rows[:, None])
        places = torch.stack(torch.broadcast_tensors(2 * x / width - 1, 2 * y / height - 1), dim=-1)
        sampled = functional.grid_sample(
            region[None], places[None].float(), padding_mode="border", align_corners=False
        )[0]
        return _stained(sampled, self.stain, generator).to(torch.uint8).permute(1, 2, 0)

    def _in_region(self, x: T, y: T) -> tuple[T, T]:
        """Map positions (x, y) in pixels of the crop to positions in pixels of the region of the image."""
        height, width = self.hw
        # Undo the flips.
        if self.flipped[1]:
            x = width - x
        if self.flipped[0]:
            y = height - y
        if self.transposed:
            x, y = y, x
        # Rotate about the centre, and scale.
        x, y = x - width / 2, y - height / 2
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        rotated_x, rotated_y = x * cos - y * sin, x * sin + y * cos
        rows, cols = self.window
        around_h, around_w = self.around_hw
        return (
            (rotated_x + around_w / 2) * ((cols.stop - cols.start) / around_w),
            (rotated_y + around_h / 2) * ((rows.stop - rows.start) / around_h),
        )


def _blurred(region: Tensor, sigmas: list[float]) -> Tensor:
    """Blur (3, H, W) with a Gaussian of the given standard deviations along rows and columns, in pixels."""
    for axis, sigma in enumerate(sigmas):
        if sigma < _MIN_BLUR_PX:
            continue
        radius = math.ceil(3 * sigma)
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
        margins = (0, 0, radius, radius) if axis == 0 else (radius, radius, 0, 0)
        padded = functional.pad(region[None], margins, mode="replicate")[0]
        # A sum of shifted images is ten times as fast as a convolution on a CPU.
        size = region.shape[axis + 1]
        region = torch.zeros_like(region)
        for start, weight in enumerate((weights / weights.sum()).tolist()):
            region.add_(padded.narrow(axis + 1, start, size), alpha=weight)
    return region


def _stained(pixels: Tensor, change: StainChange, generator: torch.Generator) -> Tensor:
    """Change the stains of (3, h, w) in 0..255, as `jitter_stain` does, and clip the result to this range."""
    # With natural logarithms, which are faster.
    density = torch.log((pixels + 1) / 256).neg_()
    matrix, offset, brightness = (
        torch.as_tensor(values, dtype=pixels.dtype, device=pixels.device)
        for values in (change.matrix, change.offset * math.log(10), change.brightness)
    )
    density = torch.tensordot(matrix, density, dims=([0], [0])).add_(offset[:, None, None])
    result: Tensor = density.neg_().exp_().mul_(256).sub_(1).mul_(brightness[:, None, None])
    if change.noise:
        noise = torch.randn(pixels.shape[1:], generator=generator, device=pixels.device)
        result += change.noise * noise
    return result.clamp_(0, 255)
