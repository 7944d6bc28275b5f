"""Small models trained on tissue and shipped with the package: `sampath-tiny` and `sampath-tiny-path`.

A ConvNeXt (see `conv_next`) reads the 1,024 px input; its four stages are fused on the 64 x 64 grid,
followed by SAM's neck. The prompt encoder and mask decoder of `sampath-tiny` extend SAM's with prompt maps (see
`tiny_prompts`); `sampath-tiny-path` is only an encoder, the pathology encoder for SAM-Path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional

from ...arrays import FeatureMap, FeatureSpec
from ...errors import WeightsError
from ..base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry
from ..weights.weights import encoder_digest, load_state_dict
from .conv_next import WIDTHS, ConvNeXt
from .tiny_prompts import CHANNELS, MapPromptEncoder, SpreadingMaskDecoder

SHIPPED = Path(__file__).parents[1] / "shipped"
MODEL_CARD = SHIPPED / "model-card.md"
"""Card of the shipped models and heads, written by `benchmarks.model_card`."""
LICENCE = "Apache-2.0 (trained on CC BY 4.0, CC0 and BSD-3-Clause images, see the model card)"
ATTRIBUTION = (
    "EBHI-Seg (CC BY 4.0), Shi et al. 2023, Front. Med. 10:1114673, doi:10.6084/m9.figshare.21540159; "
    "BBBC038v1 (CC0), Caicedo et al. 2019, Nat. Methods 16, Broad Bioimage Benchmark Collection; "
    "histolytics 0.3.0, example of HGSC (BSD-3-Clause); BCSS (CC0), Amgad et al. 2019, Bioinformatics 35(18)"
)

INFO = EncoderInfo(
    name="sampath-tiny",
    summary="Small model trained on H&E nuclei and glands; ships with the package, fast on a CPU.",
    licence=LICENCE,
    source_url="https://doi.org/10.6084/m9.figshare.21540159",
    promptable=True,
    size_mb=23.0,
    attribution=ATTRIBUTION,
    model_card=MODEL_CARD,
    everything={
        "points_per_side": 24,
        "pred_iou_thresh": 0.48,
        "stability_score_thresh": 0.6,
        "box_nms_thresh": 1.0,
        "tile_px": 512,
        "max_area_share": 0.6,
        "max_covered": 0.2,
        "size_weight": 0.2,
        "min_relative_area": 0.1,
        "window_cells": 16,
        "whole_points_per_side": 8,
        "use_heads": True,
    },
    redecode_share=0.08,
)
PATH_INFO = EncoderInfo(
    name="sampath-tiny-path",
    summary="Small pathology encoder trained on H&E tissue; ships with the package, for SAM-Path with sampath-tiny.",
    licence=LICENCE,
    source_url=INFO.source_url,
    promptable=False,
    size_mb=9.0,
    attribution=ATTRIBUTION,
    model_card=MODEL_CARD,
)


@dataclass(frozen=True, slots=True)
class TinyModel:
    """A model that is shipped with trained weights and can also be trained from random weights."""

    info: EncoderInfo
    backbone: str
    """Name of a ConvNeXt, as timm calls it; see `WIDTHS`."""

    @property
    def weights(self) -> Path:
        """Path of the shipped file."""
        return SHIPPED / f"{self.info.name}.safetensors"

    def untrained(self) -> EncoderParts:
        """Build the parts with random weights, for training."""
        encoder = TinyEncoder(self.info, self.backbone)
        encoder.backbone.draw_weights()
        return self._parts(encoder)

    def build(self, path: Path | None = None) -> EncoderParts:
        """Build the parts with the shipped weights or from a file made by `sampath tune`."""
        source = self.weights if path is None else path
        parts = self._parts(TinyEncoder(self.info, self.backbone))
        return load_parts(parts, load_state_dict(source), str(source))

    def _parts(self, encoder: TinyEncoder) -> EncoderParts:
        if not self.info.promptable:
            return EncoderParts(encoder)
        return EncoderParts(encoder, MapPromptEncoder(), SpreadingMaskDecoder())


class TinyEncoder(Encoder):
    """ConvNeXt stages fused on the 64 x 64 grid: `embedding` (256, 64, 64), or `tokens` if not promptable.

    Args:
        info: Description of the model.
        backbone: See `TinyModel`.
        weights_digest: See `Encoder`.
    """

    stored_as = torch.float16

    def __init__(self, info: EncoderInfo, backbone: str, weights_digest: str = "untrained") -> None:
        self.map_name = "embedding" if info.promptable else "tokens"
        super().__init__(info, FeatureSpec((FeatureMap(self.map_name, CHANNELS, info.name),)), weights_digest)
        self.backbone = ConvNeXt(WIDTHS[backbone])
        quarter, eighth, sixteenth, thirtysecond = self.backbone.channels
        self.from_stride4 = nn.Conv2d(quarter, CHANNELS, kernel_size=4, stride=4)
        self.from_stride8 = nn.Conv2d(eighth, CHANNELS, kernel_size=2, stride=2)
        self.from_stride16 = nn.Conv2d(sixteenth, CHANNELS, kernel_size=1)
        self.from_stride32 = nn.Conv2d(thirtysecond, CHANNELS, kernel_size=1)
        self.neck = nn.Sequential(
            LayerNorm2d(CHANNELS),
            nn.GELU(),
            nn.Conv2d(CHANNELS, CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S), S a multiple of 32, to {map_name: (B, 256, S / 16, S / 16)}."""
        # Compute maps at strides 4, 8, 16 and 32
        quarter, eighth, sixteenth, thirtysecond = self.backbone(pixels)
        # Project the maps to stride 16 and 256 channels, and sum them
        coarse = functional.interpolate(
            self.from_stride32(thirtysecond), scale_factor=2.0, mode="bilinear", align_corners=False
        )
        fused = (
            self.from_stride4(quarter) + self.from_stride8(eighth) + self.from_stride16(sixteenth) + coarse
        )
        return {self.map_name: self.neck(fused)}


def load_parts(parts: EncoderParts, state: dict[str, Tensor], source: str) -> EncoderParts:
    """Load weights into new parts and freeze them.

    Raises:
        WeightsError: If the weights belong to another model.
    """
    for prefix, module in parts.modules().items():
        own = {
            key.removeprefix(f"{prefix}."): v.float()
            for key, v in state.items()
            if key.startswith(f"{prefix}.")
        }
        try:
            module.load_state_dict(own)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip() if "\n" in str(error) else str(error)
            raise WeightsError(
                f"The weights in {source} are not for {parts.encoder.info.name} ({first}); give a file made by "
                "'sampath tune', or choose the model that the file was made for."
            ) from None
        module.eval().requires_grad_(False)
    parts.encoder.weights_digest = encoder_digest(state)
    return parts


SAMPATH_TINY = TinyModel(INFO, "convnext_femto_ols")
MODELS = {model.info.name: model for model in (SAMPATH_TINY, TinyModel(PATH_INFO, "convnext_atto_ols"))}

for _name, _model in MODELS.items():
    registry.register(_name)(EncoderEntry(_model.info, _model.build))
