"""timm models as encoders: the feature map of one stage on the 64 x 64 grid."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ...arrays import GRID, FeatureMap, FeatureSpec
from ...geometry import INPUT_PX
from ..base import Encoder, EncoderInfo

RGB = tuple[float, float, float]


class TimmEncoder(Encoder):
    """A frozen timm model that returns the map `tokens` (C, 64, 64).

    Args:
        info: See `Encoder`.
        network: Any timm model with `forward_intermediates`, built for inputs of `input_px` per side.
        weights_digest: See `Encoder`.
        mean: Mean of each channel, RGB in 0..1.
        std: Standard deviation of each channel, RGB in 0..1.
        input_px: Side of the input in pixels.
        stage: Index of the stage in `network.feature_info`; the network's final normalisation is applied to the last.
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
            info, FeatureSpec((tokens,)), weights_digest, _to_255(mean), _to_255(std), input_px=input_px
        )
        self.network: Any = network
        self.stage = stage
        self.is_last = stage == len(stages) - 1
        # Settings that change the features must also change the key of stored features.
        settings = repr((Encoder.preprocessing_version, *map(float, (*mean, *std)), input_px, stage))
        self.preprocessing_version = zlib.crc32(settings.encode())

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map a normalised batch (B, 3, S, S) to {"tokens": (B, C, 64, 64)}, without class and register tokens."""
        (tokens,) = self.network.forward_intermediates(
            pixels, indices=[self.stage], norm=self.is_last, stop_early=True, intermediates_only=True
        )
        return {"tokens": tokens}


def choose_stage(strides_px: Sequence[int]) -> tuple[int, int]:
    """Select the stage closest to SAM's resolution: the deepest one with a stride of at most 16 px.

    Args:
        strides_px: Stride of each stage in pixels, in order of depth.

    Returns:
        Index of the stage, and the side in pixels of an input for which its map has 64 x 64 cells.
    """
    fine = [index for index, stride in enumerate(strides_px) if stride <= INPUT_PX // GRID]
    stage = fine[-1] if fine else min(range(len(strides_px)), key=lambda index: (strides_px[index], -index))
    return stage, GRID * strides_px[stage]


def _to_255(values: Sequence[float]) -> RGB:
    red, green, blue = (255.0 * value for value in values)
    return red, green, blue
