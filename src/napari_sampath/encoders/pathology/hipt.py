"""Position embedding of HIPT's ViT-S/16 (Chen et al. 2022), a DINO vision transformer."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional


def resize_position(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a position embedding as DINO and HIPT do.

    DINO and HIPT interpolate the 14 x 14 positions with a scale factor of (grid + 0.1) / 14 instead of a target size,
    which changes the values slightly (by 0.02, for values with a spread of 0.2).

    Args:
        position: (1, 1 + 14 * 14, C), the class token first.
        grid: Target (rows, columns).

    Returns:
        (1, 1 + rows * columns, C).
    """
    side = isqrt(position.shape[1] - 1)
    if grid == (side, side):
        return position
    square = position[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = tuple((length + 0.1) / side for length in grid)
    resized = functional.interpolate(square, scale_factor=scale, mode="bicubic")
    return torch.cat([position[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
