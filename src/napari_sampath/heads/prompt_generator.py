"""AutoSAM by Shaharabany et al. (BMVC 2023): a network that is trained to prompt a frozen SAM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from ..arrays import GRID, IMAGE, ClassInfo, FeatureMap, FeatureSpec
from ..errors import DatasetError
from .autosam import only_embedding
from .base import Head, load_weights, registry
from .generator.network import BACKBONE, IMAGE_CHANNELS, PromptGenerator, import_generator, resize_image
from .published import embedding_spec, reference_classes
from .sam_decoder import WIDTH, PositionEncoding, TokenDecoder, copy_decoder, copy_position

_SAM_TOKENS = 4


@registry.register("prompt_generator")
class PromptGeneratorHead(Head):
    """Prompt generator g, which computes a dense prompt for each class from the image, and SAM's frozen decoder.

    The head holds its own copy of SAM's decoder (14 MB, or 7 MB in a float16 bundle), so that its bundle does not
    depend on the encoder's weights file.

    Args:
        spec: The available maps; the head reads the embedding and the image.
        classes: The classes to distinguish. A class with id 0 has no prompt; its logit is 0.
        backbone: "hardnet85" as published, "hardnet68", "hardnet68ds", "hardnet39ds", or a timm model with maps at
            strides 4, 8 and 16.
        image_px: Side to which the image is resized for g, a multiple of 32; published with 256 (GlaS), 512
            (MoNuSeg) and 352 (polyps).
        as_reference: Resize as the published code does (aligned corners, no antialiasing), and stretch each mask to
            0..1 over its image before it is thresholded at 0.5; for imported weights, which were trained this way.

    Raises:
        DatasetError: If an argument is not allowed, or the encoder has no embedding.
    """

    kind = "prompt_generator"
    summary = "AutoSAM's prompt generator (Shaharabany et al. 2023): a network that prompts a frozen SAM."
    reads_windows = False

    def __init__(
        self,
        spec: FeatureSpec,
        classes: Sequence[ClassInfo],
        backbone: str = BACKBONE,
        image_px: int = 256,
        as_reference: bool = False,
    ) -> None:
        super().__init__(with_image(only_embedding(spec, self.kind)), classes)
        self.backbone, self.image_px, self.as_reference = backbone, check_side(image_px), as_reference
        self.generator = PromptGenerator(backbone, count_prompts(self.classes))
        self.decoder = TokenDecoder(1, _SAM_TOKENS, mask_networks=1, iou_outputs=0).requires_grad_(False)
        self.pe_layer = PositionEncoding()

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {"embedding": (B, 256, h, w), "image": (B, 3, S, S)} to logits (B, K, 4h, 4w)."""
        embedding, image = (self.read(maps, feature) for feature in self.spec.maps)
        height, width = embedding.shape[-2:]
        # Compute one dense prompt for each class
        side = generator_side(self.image_px, width)
        prompts = self.generator(resize_image(image, (side, side), self.as_reference), (height, width))
        # Decode them with SAM, and add the background
        logits = self.decode_prompts(embedding, prompts)
        return with_background(stretched(logits) if self.as_reference else logits, self.classes)

    def decode_prompts(self, embedding: Tensor, prompts: Tensor) -> Tensor:
        """Run SAM's decoder on dense prompts.

        Args:
            embedding: (B, 256, h, w).
            prompts: (B, P, 256, h, w), used instead of SAM's "no mask" embedding.

        Returns:
            (B, P, 4h, 4w) logits of SAM's single mask.
        """
        batch, count, _, height, width = prompts.shape
        tokens = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        tokens, upscaled = self.decoder(
            (embedding.unsqueeze(1) + prompts).flatten(0, 1),
            self.pe_layer(height, width),
            tokens.expand(batch * count, -1, -1),
        )
        logits = self.decoder.masks(tokens[:, 1:2], upscaled)
        return logits.reshape(batch, count, *logits.shape[2:])

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Copy SAM's decoder; it stays frozen."""
        if sam is None:
            raise DatasetError(
                "A 'prompt_generator' head is trained through SAM's mask decoder, which this encoder does not have; "
                "choose a promptable encoder, such as 'vit_b' or 'sampath-tiny', or the head 'surrogate'."
            )
        copy_position(self.pe_layer, sam)
        copy_decoder(self.decoder, sam)

    @classmethod
    def import_reference(
        cls,
        state: Mapping[str, Tensor],
        classes: Sequence[ClassInfo] | None = None,
        encoder: str = "vit_b",
        compat_double_norm: bool = True,
        image_px: int = 256,
    ) -> Self:
        """Build the head from g's weights (`backbone.*`, `decoder.*`) and the weights of the SAM it was trained with.

        Args:
            state: g's tensors, and optionally SAM's `prompt_encoder.*` and `mask_decoder.*`; without SAM's weights,
                call `init_from_sam` afterwards.
            classes: Two classes: the background (id 0) and the class that g was trained on.
            encoder: Name of the SAM encoder.
            compat_double_norm: Read the embedding of images that are normalised twice, as in the published code.
            image_px: Side of the images that g was trained on.
        """
        backbone, tensors = import_generator(state)
        head = cls(
            embedding_spec(WIDTH, encoder, "double" if compat_double_norm else "sam"),
            reference_classes(2, classes),
            backbone=backbone,
            image_px=image_px,
            as_reference=True,
        )
        # Tensors that are not in the checkpoint keep their initial values
        initial = {key: value for key, value in head.state_dict().items() if not key.startswith("generator.")}
        load_weights(head, initial | tensors, "The weights")
        if any(key.startswith("mask_decoder.") for key in state):
            head.init_from_sam(state)
        return head


def count_prompts(classes: Sequence[ClassInfo]) -> int:
    """Count the classes that have a prompt, which are all except the background."""
    return sum(info.id > 0 for info in classes)


def with_background(logits: Tensor, classes: Sequence[ClassInfo]) -> Tensor:
    """Prepend the background's logit 0 to the logits (B, P, H, W) if the first class is the background."""
    if classes[0].id > 0:
        return logits
    return torch.cat([torch.zeros_like(logits[:, :1]), logits], dim=1)


def stretched(logits: Tensor) -> Tensor:
    """Return logits whose sigmoid is each map (B, P, H, W) scaled to 0..1 by its minimum and maximum."""
    low, high = logits.amin(dim=(2, 3), keepdim=True), logits.amax(dim=(2, 3), keepdim=True)
    return torch.logit((logits - low) / (high - low + 1e-6), eps=1e-6)


def with_image(spec: FeatureSpec) -> FeatureSpec:
    """Add the image, as preprocessed by the encoder, to the maps that a head reads."""
    others = tuple(feature for feature in spec.maps if feature.name != IMAGE)
    source = (others or spec.maps)[0].encoder
    return FeatureSpec((*others, FeatureMap(IMAGE, IMAGE_CHANNELS, source)))


def only_image(spec: FeatureSpec) -> FeatureSpec:
    """Select only the image, as preprocessed by the encoder of the first map."""
    return FeatureSpec(with_image(spec).maps[-1:])


def generator_side(image_px: int, cells: int) -> int:
    """Return g's input side for a window of `cells` x `cells` if a tile is resized to `image_px`; a multiple of 32."""
    return max(32, round(image_px * cells / GRID / 32) * 32)


def check_side(image_px: int) -> int:
    """Return the side if it is a multiple of 32 from 32 to 1024.

    Raises:
        DatasetError: If it is not.
    """
    if not (32 <= image_px <= 1024 and image_px % 32 == 0):
        raise DatasetError(f"image_px is {image_px}; give a multiple of 32 from 32 to 1024.")
    return image_px
