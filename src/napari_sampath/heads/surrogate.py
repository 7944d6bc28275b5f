"""Surrogate of Shaharabany et al. (BMVC 2023): masks from g's prompts without SAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

from torch import Tensor

from ..arrays import ClassInfo, FeatureSpec
from ..errors import WeightsError
from .base import Head, load_weights, registry
from .generator.network import (
    BACKBONE,
    CELL_PX,
    PromptGenerator,
    SurrogateDecoder,
    import_generator,
    resize_image,
)
from .prompt_generator import check_side, count_prompts, generator_side, only_image, with_background
from .published import embedding_spec, reference_classes, rename_tensors
from .sam_decoder import WIDTH


@registry.register("surrogate")
class SurrogateHead(Head):
    """Generator g followed by decoder h; reads only the image, so that no encoder runs.

    Args:
        spec: The available maps; the head reads the image.
        classes: The classes to distinguish. A class with id 0 has no prompt; its logit is 0.
        backbone: See `PromptGeneratorHead`.
        image_px: Side to which the image is resized, a multiple of 32.
        as_reference: Resize as the published code does (aligned corners, no antialiasing).

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
        self.generator = PromptGenerator(backbone, count_prompts(self.classes))
        self.decoder = SurrogateDecoder()

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {"image": (B, 3, S, S)} to logits (B, K, S / 4, S / 4)."""
        image = self.gather(maps)
        cells = image.shape[-1] // CELL_PX
        side = generator_side(self.image_px, cells)
        prompts = self.generator(resize_image(image, (side, side), self.as_reference), (cells, cells))
        logits = self.decoder(prompts.flatten(0, 1)).unflatten(0, prompts.shape[:2])[:, :, 0]
        return with_background(logits, self.classes)

    @classmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Build the head from a dictionary with the weights of g and of h (`conv1`, `norm1` ...); their keys differ."""
        backbone, tensors = import_generator(state)
        parts = ("conv1.", "norm1.", "conv2.", "norm2.", "conv3.")
        decoder = rename_tensors(state, {name: f"decoder.{name}" for name in parts})
        if not decoder:
            raise WeightsError(
                "The weights do not include the surrogate decoder (conv1, conv2, conv3); give the state_dicts of the "
                "generator and of the decoder in one dictionary."
            )
        spec = embedding_spec(WIDTH, encoder)
        head = cls(spec, reference_classes(2, classes), backbone=backbone, as_reference=True)
        load_weights(head, tensors | decoder, "The weights")
        return head
