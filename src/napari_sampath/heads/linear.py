"""AutoSAM's linear head (Hu et al. 2023, xhu248/AutoSAM): SAM's upscaling, then two 1 x 1 convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureSpec
from .base import Head, load_weights, registry
from .published import AUTOSAM_WRAPPERS, embedding_spec, reference_classes, rename_tensors, require_tensors


@registry.register("linear")
class LinearHead(Head):
    """Two transposed convolutions as in SAM's mask decoder, followed by a classifier for each cell.

    Args:
        spec: The feature maps to read.
        classes: The classes to distinguish.
        final_relu: Clamp the logits at 0, as the published head does. Use it only for imported weights: in training,
            a class whose logit is 0 everywhere no longer has a gradient.
    """

    kind = "linear"
    summary = "AutoSAM's linear head (Hu et al. 2023): the smallest, for few classes of uniform appearance."

    def __init__(self, spec: FeatureSpec, classes: Sequence[ClassInfo], final_relu: bool = False) -> None:
        super().__init__(spec, classes)
        self.final_relu = final_relu
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(spec.channels, 64, kernel_size=2, stride=2),
            LayerNorm2d(64),
            nn.GELU(),
            nn.ConvTranspose2d(64, 32, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.final = nn.Sequential(
            nn.Conv2d(32, 32, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(32, len(self.classes), kernel_size=1),
            *([nn.ReLU()] if final_relu else []),
        )

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to logits (B, K, 4h, 4w)."""
        logits: Tensor = self.final(self.output_upscaling(self.gather(maps)))
        return logits

    @classmethod
    def import_reference(
        cls,
        state: Mapping[str, Tensor],
        classes: Sequence[ClassInfo] | None = None,
        encoder: str = "vit_b",
        input_norm: str = "minmax01",
    ) -> Self:
        """Build the head from `SegDecoderLinear` weights; see `CNNHead` for `input_norm`."""
        parts = {name: name for name in ("output_upscaling.", "final.")}
        tensors = rename_tensors(state, parts, AUTOSAM_WRAPPERS)
        first, last = require_tensors(
            tensors,
            ("output_upscaling.0.weight", "final.2.weight"),
            "AutoSAM's linear head",
            "give its state_dict, alone or inside the state_dict of the whole model",
        )
        spec = embedding_spec(first.shape[0], encoder, input_norm)
        head = cls(spec, reference_classes(last.shape[0], classes), final_relu=True)
        load_weights(head, tensors, "The weights")
        return head
