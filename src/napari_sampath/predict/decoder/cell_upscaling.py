"""SAM's upscaling of cells to low-resolution logits, for selected candidates.

Both transposed convolutions have stride 2 and a kernel of 2, so each is a linear layer on single cells. The cells are
processed in parts that stay in the processor's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn import functional

from .onednn_linear import linear

if TYPE_CHECKING:
    from segment_anything.modeling import MaskDecoder


class Upscaling:
    """The upscaling at the end of SAM's mask decoder.

    Args:
        decoder: SAM's mask decoder; its weights are read here and must not change afterwards.
        grid_hw: Size (h, w) of the grid of cells.
    """

    def __init__(self, decoder: MaskDecoder, grid_hw: tuple[int, int]) -> None:
        first, self._norm, _, second, _ = decoder.output_upscaling
        self._first = _as_linear(first.weight, first.bias)
        self._second = _as_linear(second.weight, second.bias)
        self._grid_hw = grid_hw

    def logits(self, parts: list[Tensor], kernels: Tensor, out: Tensor) -> None:
        """Upscale the cells of one prompt by a factor of 4, and multiply them by the kernels of the candidates.

        Args:
            parts: The cells after attention, each (n, C), whole rows of the grid.
            kernels: (M, C / 8), one for each candidate.
            out: (M, 4h, 4w) float, filled with the logits.
        """
        height, width = self._grid_hw
        # Each cell is doubled twice along each axis: rows (h, 2, 2), columns (w, 2, 2).
        planes = out.view(len(kernels), height, 2, 2, width, 2, 2)
        row = 0
        for part in parts:
            # First transposed convolution and layer norm.
            doubled = linear(part, *self._first).view(4 * len(part), -1)
            doubled = functional.layer_norm(
                doubled, doubled.shape[-1:], self._norm.weight, self._norm.bias, self._norm.eps
            )
            # Second transposed convolution, with GELU before and after.
            quadrupled = linear(functional.gelu(doubled), *self._second, gelu=True)
            # Multiply by the kernels, and reorder the values into the output.
            values = linear(kernels, quadrupled.view(-1, kernels.shape[1]))
            values = values.view(len(kernels), -1, width, 2, 2, 2, 2)
            stop = row + values.shape[1]
            planes[:, row:stop].copy_(values.permute(0, 1, 3, 5, 2, 4, 6))
            row = stop


def _as_linear(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Convert a 2 x 2 transposed convolution (C, D, 2, 2) of stride 2 to a linear layer (4 D, C) on cells."""
    return weight.permute(2, 3, 1, 0).flatten(0, 2).contiguous(), bias.repeat(4)
