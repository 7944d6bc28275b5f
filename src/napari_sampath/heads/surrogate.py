"""The surrogate of Shaharabany et al. (BMVC 2023): g's prompts turned into masks without SAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor

from ..arrays import ClassInfo, FeatureSpec
from ..errors import WeightsError
from .base import Argument, Head, embedding_spec, reference_classes, registry
from .generator import (
    BACKBONE,
    PromptGenerator,
    SurrogateDecoder,
    reference_backbone,
    reference_state,
    resize_image,
)
from .prompt_generator import check_side, generator_side, load_part, only_image, prompted, with_background
from .sam_decoder import WIDTH

_CELL_PX = 16
"""Pixels of the image for each cell of the embedding that g makes."""


@registry.register("surrogate")
class SurrogateHead(Head):
    """g and the decoder h behind it; reads the picture alone, so no encoder runs for it.

    Args:
        spec: The maps there are; it reads the image.
        classes: What it tells apart. A class with id 0 has no map of its own: its logit is 0.
        backbone: See `PromptGeneratorHead`.
        image_px: Side to which the image is resized, a multiple of 32.
        as_reference: Resize as the published program does: corners aligned, aliased.

    Raises:
        DatasetError: If an argument is not allowed.
    """

    kind = "surrogate"
    summary = "AutoSAM's surrogate (Shaharabany et al. 2023): the prompt generator with a light decoder, without SAM."

    def __init__(
        self,
        spec: FeatureSpec,
        classes: Sequence[ClassInfo],
        backbone: str = BACKBONE,
        image_px: int = 256,
        as_reference: bool = False,
    ) -> None:
        super().__init__(only_image(spec), classes)
        self.backbone, self.image_px, self.as_reference = backbone, check_side(image_px), as_reference
        self.generator = PromptGenerator(backbone, prompted(self.classes))
        self.decoder = SurrogateDecoder()

    @property
    def arguments(self) -> dict[str, Argument]:
        """What builds the same head again."""
        return {"backbone": self.backbone, "image_px": self.image_px, "as_reference": self.as_reference}

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {"image": (B, 3, S, S)} to logits (B, K, S / 4, S / 4)."""
        image = self.gather(maps)
        cells = image.shape[-1] // _CELL_PX
        side = generator_side(self.image_px, cells)
        prompts = self.generator(resize_image(image, (side, side), self.as_reference), (cells, cells))
        logits = self.decoder(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2])[:, :, 0]
        return with_background(logits, self.classes)

    @classmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Build the head from g's weights and h's (`conv1`, `norm1` ...) in one dictionary: the names differ."""
        backbone = reference_backbone(state)
        decoder = {key: value for key, value in state.items() if key.split(".", 1)[0] in _DECODER}
        if backbone is None or not decoder:
            raise WeightsError(
                "The weights are not those of a prompt generator and its surrogate decoder (keys backbone.base, "
                "decoder.up1 and conv1, conv2, conv3); give both state_dicts in one."
            )
        head = cls(
            embedding_spec(WIDTH, encoder),
            reference_classes(2, classes),
            backbone=backbone,
            as_reference=True,
        )
        load_part(head, "generator", reference_state(head.generator, state))
        load_part(head, "decoder", decoder)
        return head


_DECODER = ("conv1", "norm1", "conv2", "norm2", "conv3")
