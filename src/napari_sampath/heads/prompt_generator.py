"""AutoSAM by Shaharabany et al. (BMVC 2023): a network that prompts the frozen SAM, trained through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from ..arrays import GRID, IMAGE, ClassInfo, FeatureMap, FeatureSpec
from ..errors import DatasetError, WeightsError
from .autosam import only_embedding
from .base import Argument, Head, embedding_spec, load_own, reference_classes, registry
from .generator import (
    BACKBONE,
    IMAGE_CHANNELS,
    PromptGenerator,
    reference_backbone,
    reference_state,
    resize_image,
)
from .sam_decoder import WIDTH, PositionEncoding, TokenDecoder, copy_decoder, copy_position

_SAM_TOKENS = 4


@registry.register("prompt_generator")
class PromptGeneratorHead(Head):
    """g looks at the picture and makes, for each class, the dense prompt with which SAM's frozen decoder answers.

    The head holds its own copy of SAM's decoder (14 MB, half of that in a bundle of float16), so that a bundle
    is whole by itself and a change of the encoder's file cannot change what the head answers.

    Args:
        spec: The maps there are; it reads the embedding and the image.
        classes: What it tells apart. A class with id 0 has no prompt of its own: its logit is 0.
        backbone: "hardnet85" as published, "hardnet68", "hardnet68ds", "hardnet39ds", or a timm model with maps at
            strides 4, 8 and 16.
        image_px: Side to which g's copy of the image is resized, a multiple of 32; published with 256 (GlaS), 512
            (MoNuSeg) and 352 (polyps).
        as_reference: Resize as the published program does (corners aligned, aliased), and stretch every mask to
            0..1 over its image before it is cut at a half. For imported weights, which were trained that way.

    Raises:
        DatasetError: If an argument is not allowed, or the encoder yields no embedding.
    """

    kind = "prompt_generator"
    summary = "AutoSAM's prompt generator (Shaharabany et al. 2023): a network that prompts the frozen SAM."
    reads_windows = False

    def __init__(
        self,
        spec: FeatureSpec,
        classes: Sequence[ClassInfo],
        backbone: str = BACKBONE,
        image_px: int = 256,
        as_reference: bool = False,
    ) -> None:
        embedding = only_embedding(spec, self.kind)
        super().__init__(with_image(embedding), classes)
        self.backbone, self.image_px, self.as_reference = backbone, check_side(image_px), as_reference
        self.generator = PromptGenerator(backbone, prompted(self.classes))
        self.decoder = TokenDecoder(1, _SAM_TOKENS, mask_networks=1, iou_outputs=0).requires_grad_(False)
        self.pe_layer = PositionEncoding()

    @property
    def arguments(self) -> dict[str, Argument]:
        """What builds the same head again."""
        return {"backbone": self.backbone, "image_px": self.image_px, "as_reference": self.as_reference}

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {"embedding": (B, 256, h, w), "image": (B, 3, S, S)} to logits (B, K, 4h, 4w)."""
        embedding = self.read(maps, self.spec.maps[0])
        image = self.read(maps, self.spec.maps[1])
        side = generator_side(self.image_px, embedding.shape[-1])
        prompts = self.generator(
            resize_image(image, (side, side), self.as_reference), (embedding.shape[-2], embedding.shape[-1])
        )
        logits = self.answer(embedding, prompts)
        return with_background(stretched(logits) if self.as_reference else logits, self.classes)

    def answer(self, embedding: Tensor, prompts: Tensor) -> Tensor:
        """Let SAM answer dense prompts.

        Args:
            embedding: (B, 256, h, w).
            prompts: (B, P, 256, h, w), which take the place of SAM's "no mask" embedding.

        Returns:
            (B, P, 4h, 4w) logits of SAM's single mask.
        """
        batch, count, _, height, width = prompts.shape
        tokens = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        answers, upscaled = self.decoder.ask(
            (embedding.unsqueeze(1) + prompts).flatten(0, 1),
            self.pe_layer(height, width),
            tokens.expand(batch * count, -1, -1),
        )
        logits = self.decoder.masks(answers[:, 1:2], upscaled)
        return logits.reshape(batch, count, *logits.shape[2:])

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Copy SAM's decoder, which stays as it is."""
        if sam is None:
            raise DatasetError(
                "A prompt_generator is trained through SAM's prompt decoder, this encoder has none; choose one that "
                "answers prompts, such as 'vit_b' or 'sampath-tiny', or the head 'surrogate'."
            )
        copy_position(self.pe_layer, sam)
        copy_decoder(self.decoder, sam, ())

    @classmethod
    def import_reference(
        cls,
        state: Mapping[str, Tensor],
        classes: Sequence[ClassInfo] | None = None,
        encoder: str = "vit_b",
        compat_double_norm: bool = True,
        image_px: int = 256,
    ) -> Self:
        """Build the head from g's weights (`backbone.*`, `decoder.*`) and those of the SAM it was trained through.

        Args:
            state: The whole module's tensors, beside SAM's `prompt_encoder.*` and `mask_decoder.*`; without SAM's
                the head must `init_from_sam` them.
            classes: Two: the rest (id 0), and what g was trained to find.
            encoder: Name of the SAM encoder.
            compat_double_norm: Read the embedding of images that were normalised twice, as the published program
                does while training and predicting.
            image_px: Side at which g was trained.
        """
        backbone = reference_backbone(state)
        if backbone is None:
            raise WeightsError(
                "The weights are not those of a prompt generator (keys backbone.base, decoder.up1); give the file "
                "'net_best.pth' of AutoSAM (Shaharabany et al.), as a state_dict."
            )
        head = cls(
            embedding_spec(WIDTH, encoder, "double" if compat_double_norm else "sam"),
            reference_classes(2, classes),
            backbone=backbone,
            image_px=image_px,
            as_reference=True,
        )
        load_part(head, "generator", reference_state(head.generator, state))
        if any(key.startswith("mask_decoder.") for key in state):
            head.init_from_sam(state)
        return head


def prompted(classes: Sequence[ClassInfo]) -> int:
    """Count the classes that have a prompt of their own: all but the rest."""
    return sum(one.id > 0 for one in classes)


def with_background(logits: Tensor, classes: Sequence[ClassInfo]) -> Tensor:
    """Put the rest's logit, 0, before those of the other classes (B, P, H, W), if there is a rest."""
    if classes[0].id > 0:
        return logits
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def stretched(logits: Tensor) -> Tensor:
    """Make logits (B, P, H, W) whose sigmoid is each map's own values, stretched from its lowest to its highest."""
    low, high = logits.amin(dim=(2, 3), keepdim=True), logits.amax(dim=(2, 3), keepdim=True)
    return torch.logit((logits - low) / (high - low + 1e-6), eps=1e-6)


def with_image(spec: FeatureSpec) -> FeatureSpec:
    """Add the image to the maps that a head reads, named after the encoder that prepares it."""
    rest = tuple(one for one in spec.maps if one.name != IMAGE)
    source = (rest or spec.maps)[0].encoder
    return FeatureSpec((*rest, FeatureMap(IMAGE, IMAGE_CHANNELS, source)))


def only_image(spec: FeatureSpec) -> FeatureSpec:
    """Read the image alone, as the first of the maps' encoders prepares it."""
    return FeatureSpec(with_image(spec).maps[-1:])


def generator_side(image_px: int, cells: int) -> int:
    """Return g's input side for `cells` of the 64 cells of a tile's side: the same scale, a multiple of 32."""
    return max(32, round(image_px * cells / GRID / 32) * 32)


def check_side(image_px: int) -> int:
    """Return the side if it is allowed.

    Raises:
        DatasetError: If it is not.
    """
    if not (32 <= image_px <= 1024 and image_px % 32 == 0):
        raise DatasetError(f"image_px is {image_px}; allowed are multiples of 32 from 32 to 1024.")
    return image_px


def load_part(head: Head, part: str, state: Mapping[str, Tensor]) -> None:
    """Put a reference's weights into one part of a head; the rest of the head stays.

    Raises:
        WeightsError: If names or shapes differ.
    """
    others = {key: value for key, value in head.state_dict().items() if not key.startswith(f"{part}.")}
    load_own(head, {**others, **{f"{part}.{key}": value for key, value in state.items()}}, "The weights")
