"""Cells to low-resolution logits: SAM's upscaling, cell by cell and for chosen candidates only.

Both transposed convolutions have stride 2 and a kernel of 2, so each is a linear layer on one cell. Some
rows of the grid at a time go from cell to logit without leaving the processor's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder

_CELLS = 512
"""Cells that each thread upscales at a time: about 2 MB in flight."""


class Upscaling:
    """The end of SAM's mask decoder.

    Args:
        decoder: The package's; its weights are read now and must not change afterwards.
        grid_hw: Size (h, w) of the grid of cells.
    """

    def __init__(self, decoder: MaskDecoder, grid_hw: tuple[int, int]) -> None:
        first, self._norm, self._act, second, _ = decoder.output_upscaling
        self._first = _as_linear(first.weight, first.bias)
        self._second = _as_linear(second.weight, second.bias)
        self._grid_hw = grid_hw

    def logits(self, cells: Tensor, kernels: Tensor, out: Tensor) -> None:
        """Upscale the cells of one prompt sixteenfold and weigh them.

        Args:
            cells: (h * w, C) after attention.
            kernels: (M, C / 8), one for each candidate.
            out: (M, 4h, 4w) float, filled with the logits.
        """
        height, width = self._grid_hw
        # A cell is halved twice along each axis: rows (h, 2, 2), columns (w, 2, 2).
        planes = out.view(len(kernels), height, 2, 2, width, 2, 2)
        step = height
        if cells.device.type == "cpu":
            step = max(1, _CELLS * torch.get_num_threads() // width)
        for row in range(0, height, step):
            piece = cells[row * width : (row + step) * width]
            halves = functional.linear(piece, *self._first).view(len(piece), 4, -1)
            halves = functional.layer_norm(
                halves, halves.shape[-1:], self._norm.weight, self._norm.bias, self._norm.eps
            )
            quarters = self._act(functional.linear(self._act(halves), *self._second))
            values = kernels @ quarters.view(-1, kernels.shape[1]).T
            values = values.view(len(kernels), -1, width, 2, 2, 2, 2)
            planes[:, row : row + step].copy_(values.permute(0, 1, 3, 5, 2, 4, 6))


def _as_linear(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a 2 x 2 transposed convolution (C, D, 2, 2) of stride 2 into a linear layer (4 D, C) on cells."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous(), bias.repeat(4)
