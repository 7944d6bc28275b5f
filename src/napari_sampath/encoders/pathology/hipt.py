"""HIPT's ViT-S/16 (Chen et al. 2022), a DINO vision transformer: its positions."""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor
from torch.nn import functional


def resize_position(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a position embedding as DINO and HIPT do.

    They ask for a scale of (grid + 0.1) / 14 instead of a size, and PyTorch reads between the 14 x 14
    positions with that scale: another result than asking for the size (0.02 at a spread of 0.2).

    Args:
        position: (1, 1 + 14 * 14, C), the class token's first.
        grid: (rows, columns) wanted.

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
