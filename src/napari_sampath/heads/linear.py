"""AutoSAM's linear head (Hu et al. 2023, xhu248/AutoSAM): SAM's upscaling, then two 1 x 1 convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureSpec
from ..errors import WeightsError
from .base import Argument, Head, embedding_spec, load_own, own_keys, reference_classes, registry


@registry.register("linear")
class LinearHead(Head):
    """Two transposed convolutions as in SAM's mask decoder, then a classifier for each cell.

    Args:
        spec: The maps it reads.
        classes: What it tells apart.
        final_relu: Clamp the logits at 0 as the reference does; a class whose logit is 0 everywhere can
            then never be learned again, so it is off except for imported weights.
    """

    kind = "linear"
    summary = "AutoSAM's linear head (Hu et al. 2023): the smallest, for few classes of plain looks."

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

    @property
    def arguments(self) -> dict[str, Argument]:
        """What builds the same head again."""
        return {"final_relu": self.final_relu}

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
        own = own_keys(state, ("output_upscaling", "final"))
        first, last = own.get("output_upscaling.0.weight"), own.get("final.2.weight")
        if first is None or last is None:
            raise WeightsError(
                "The weights are not those of AutoSAM's linear head (keys output_upscaling, final); "
                "give its state_dict, alone or inside that of the whole model."
            )
        spec = embedding_spec(first.shape[0], encoder, input_norm)
        head = cls(spec, reference_classes(last.shape[0], classes), final_relu=True)
        load_own(head, own, "The weights")
        return head
