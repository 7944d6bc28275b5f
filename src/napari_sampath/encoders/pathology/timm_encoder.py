"""Networks of timm as encoders: the map of one of their stages, on the 64 x 64 grid."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from ...arrays import GRID, FeatureMap, FeatureSpec
from ...geometry import INPUT_PX
from ..base import Encoder, EncoderInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

RGB = tuple[float, float, float]


class TimmEncoder(Encoder):
    """A frozen network of timm; yields `tokens` (C, 64, 64).

    Args:
        info: See `Encoder`.
        network: Any timm model with `forward_intermediates`, built for squares of `input_px`.
        weights_digest: See `Encoder`.
        mean: Per channel, of RGB in 0..1.
        std: Per channel, of RGB in 0..1.
        input_px: Side of the square that it takes.
        stage: Index of the map in `network.feature_info`; the last one is normalised as for the network's
            own head.
    """

    def __init__(
        self,
        info: EncoderInfo,
        network: nn.Module,
        weights_digest: str,
        mean: Sequence[float],
        std: Sequence[float],
        input_px: int,
        stage: int,
    ) -> None:
        stages: Any = network.feature_info
        tokens = FeatureMap("tokens", int(stages[stage]["num_chs"]), info.name)
        super().__init__(
            info, FeatureSpec((tokens,)), weights_digest, _in_255(mean), _in_255(std), input_px=input_px
        )
        self.network: Any = network
        self.stage = stage
        self.is_last = stage == len(stages) - 1
        # A corrected row of the table makes other features: the store must not find the old ones.
        recipe = repr((Encoder.preprocessing_version, *map(float, (*mean, *std)), input_px, stage))
        self.preprocessing_version = zlib.crc32(recipe.encode())

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map a normalised batch (B, 3, S, S) to {"tokens": (B, C, 64, 64)}, class and register tokens left out."""
        (tokens,) = self.network.forward_intermediates(
            pixels, indices=[self.stage], norm=self.is_last, stop_early=True, intermediates_only=True
        )
        return {"tokens": tokens}


def choose_stage(strides_px: Sequence[int]) -> tuple[int, int]:
    """Choose the map that comes closest to SAM's: the deepest one with patches of at most 16 px.

    Args:
        strides_px: Pixels that one cell of each map covers, in order of depth.

    Returns:
        Its index, and the side of the square for which it has 64 x 64 cells, in pixels.
    """
    fine = [index for index, stride in enumerate(strides_px) if stride <= INPUT_PX // GRID]
    stage = fine[-1] if fine else min(range(len(strides_px)), key=lambda index: (strides_px[index], -index))
    return stage, GRID * strides_px[stage]


def _in_255(values: Sequence[float]) -> RGB:
    red, green, blue = (255.0 * value for value in values)
    return red, green, blue
