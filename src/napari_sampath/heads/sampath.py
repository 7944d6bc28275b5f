"""SAM-Path (Zhang et al. 2023): trainable class tokens in SAM's mask decoder.

Written from the paper and from a description of the published code, which has no licence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureMap, FeatureSpec
from ..errors import DatasetError, WeightsError
from .base import Head, load_weights, registry
from .published import reference_classes, rename_tensors, require_tensors
from .sam_decoder import (
    POSITION_MATRIX,
    WIDTH,
    PositionEncoding,
    TokenDecoder,
    copy_decoder,
    copy_position,
    new_neck,
    sam_tensor,
)

VARIANTS = ("fusion", "sam_only", "pathology_only", "plus")
_UNUSED = 2
"""Number of mask tokens before the class tokens in published checkpoints: SAM's first token, and "unlabelled"."""


@registry.register("sampath")
class SamPathHead(Head):
    """SAM's mask decoder with one mask token per class, which predicts all classes in one pass.

    `variant` selects the decoder's input from the maps of the encoder:

    - "fusion", the paper's method: the tokens of SAM and of the pathology encoder, if there is one, concatenated and
      reduced to 256 channels by the module R. If the first encoder has only an embedding (`sampath-tiny`), R reads the
      embedding instead of SAM's tokens.
    - "sam_only", the paper's "w/o F_p": SAM's embedding, unchanged.
    - "pathology_only", "w/o F_s": the pathology encoder's tokens, reduced by a neck.
    - "plus": SAM's embedding plus the pathology encoder's tokens, reduced by a neck.

    Args:
        spec: The available maps.
        classes: The classes to distinguish.
        variant: "fusion", "sam_only", "pathology_only" or "plus".
        unused_tokens: Number of mask tokens before the class tokens, which take part in the attention but give no
            output: 0, or 2 for imported weights (SAM's first token, and the token of unlabelled pixels).

    Raises:
        DatasetError: If an argument is not allowed, or the encoder lacks the maps of the variant.
    """

    kind = "sampath"
    summary = (
        "SAM-Path (Zhang et al. 2023): class tokens in SAM's decoder, with a pathology encoder beside SAM's."
    )
    reads_windows = False

    def __init__(
        self,
        spec: FeatureSpec,
        classes: Sequence[ClassInfo],
        variant: str = "fusion",
        unused_tokens: int = 0,
    ) -> None:
        if variant not in VARIANTS:
            raise DatasetError(
                f"The variant of a sampath head is '{variant}'; choose one of {', '.join(VARIANTS)}."
            )
        if unused_tokens not in (0, _UNUSED):
            raise DatasetError(f"unused_tokens of a sampath head is {unused_tokens}; give 0 or {_UNUSED}.")
        super().__init__(select_maps(spec, variant), classes)
        self.variant, self.unused_tokens = variant, unused_tokens
        tokens = unused_tokens + len(self.classes)
        self.decoder = TokenDecoder(1, tokens, mask_networks=tokens, iou_outputs=tokens)
        self.decoder.output_hypernetworks_mlps[:unused_tokens].requires_grad_(False)
        self.pe_layer = PositionEncoding()
        self.no_mask_embed: Tensor
        self.register_buffer("no_mask_embed", torch.zeros(1, WIDTH))
        reduced = self.spec.maps[1:] if variant == "plus" else self.spec.maps
        self.fusion_neck: nn.Sequential | None = None
        if variant != "sam_only":
            self.fusion_neck = new_neck(sum(feature.channels for feature in reduced))

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to logits (B, K, 4h, 4w)."""
        return self.forward_with_iou(maps)[0]

    def forward_with_iou(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the logits (B, K, 4h, 4w) and the predicted IoU (B, K), which only the loss uses."""
        return self.decode(self.fuse(maps), self.unused_tokens)

    def fuse(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Compute the decoder's input, (B, 256, h, w), from the maps of the variant."""
        values = self.gather(maps)
        if self.fusion_neck is None:
            return values
        if self.variant == "plus":
            fused: Tensor = values[:, :WIDTH] + self.fusion_neck(values[:, WIDTH:])
        else:
            fused = self.fusion_neck(values)
        return fused

    def decode(self, image: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Compute the masks of all mask tokens from index `first` on.

        Args:
            image: (B, 256, h, w), from `fuse`.
            first: 0 for all; 1 for the output of the published code, which is "unlabelled" and then the classes.

        Returns:
            Logits (B, m, 4h, 4w) and predicted IoU (B, m).
        """
        batch, _, height, width = image.shape
        # Add SAM's "no mask" embedding in place of a dense prompt
        image = image + self.no_mask_embed.view(1, WIDTH, 1, 1)
        # Run the transformer with one IoU token and the mask tokens
        tokens = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        tokens, upscaled = self.decoder(image, self.pe_layer(height, width), tokens.expand(batch, -1, -1))
        # Compute masks and their predicted IoU
        logits = self.decoder.masks(tokens[:, 1 + first :], upscaled, slice(first, None))
        return logits, self.decoder.iou_prediction_head(tokens[:, 0])[:, first:]

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Copy SAM's decoder, and SAM's first mask network for every class, as the published code does.

        The class tokens stay random; without SAM's decoder, all weights do.
        """
        if sam is None:
            return
        copy_position(self.pe_layer, sam)
        copy_decoder(self.decoder, sam, skip=("mask_tokens", "hypernetworks", "iou_prediction_head.layers.2"))
        with torch.no_grad():
            self.no_mask_embed.copy_(
                sam_tensor(sam, "prompt_encoder.no_mask_embed.weight", self.no_mask_embed)
            )
            for network in self.decoder.output_hypernetworks_mlps:
                for name, own in network.state_dict().items():
                    own.copy_(sam_tensor(sam, f"mask_decoder.output_hypernetworks_mlps.0.{name}", own))

    @classmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Build the head from the `state_dict` of a Lightning checkpoint of SAM-Path, of any variant.

        The number of classes is the number of mask tokens minus two. The variant follows from the necks in the
        checkpoint; "plus" and "pathology_only" have the same necks and are distinguished by `encoder`: a pair such as
        "vit_b+hipt-s16", or only "hipt-s16".
        """
        published = rename_tensors(state, {"": ""}, ("model.",))
        if not any(key.startswith("mask_decoder.") for key in published):
            published = rename_tensors(published, {"": ""}, ("model.",))
        tokens, _ = require_tensors(
            published,
            ("mask_decoder.mask_tokens.weight", f"prompt_encoder.{POSITION_MATRIX}"),
            "SAM-Path",
            "give the state_dict of its Lightning checkpoint",
        )
        count = len(tokens) - _UNUSED
        if count < 1:
            raise WeightsError(
                f"The weights have {len(tokens)} mask tokens; SAM-Path's weights have at least three."
            )
        sources = encoder.split("+")
        variant, neck = _variant(published, sources)
        renames = {
            "mask_decoder.": "decoder.",
            f"prompt_encoder.{POSITION_MATRIX}": POSITION_MATRIX,
            "prompt_encoder.no_mask_embed.weight": "no_mask_embed",
        } | ({f"{neck}.": "fusion_neck."} if neck else {})
        head = cls(
            _reference_spec(published, variant, neck, sources),
            reference_classes(count, classes),
            variant=variant,
            unused_tokens=_UNUSED,
        )
        load_weights(head, rename_tensors(published, renames), "The weights")
        return head


def select_maps(spec: FeatureSpec, variant: str) -> FeatureSpec:
    """Select the maps that a variant reads; the operation is idempotent.

    Raises:
        DatasetError: If the encoder lacks these maps.
    """
    embedding = tuple(feature for feature in spec.maps if feature.name == "embedding")
    tokens = tuple(feature for feature in spec.maps if feature.name.rpartition(".")[2] == "tokens")
    sam = {feature.encoder for feature in embedding}
    with_tokens = {feature.encoder for feature in tokens}
    pathology = tuple(feature for feature in tokens if feature.encoder not in sam)
    selected = {
        "fusion": tuple(feature for feature in embedding if feature.encoder not in with_tokens) + tokens,
        "sam_only": embedding,
        "pathology_only": pathology,
        "plus": embedding + pathology if embedding and pathology else (),
    }[variant]
    if not selected:
        required = {"sam_only": "SAM's embedding", "plus": "SAM's embedding and a pathology encoder's tokens"}
        raise DatasetError(
            f"The variant '{variant}' reads {required.get(variant, 'a pathology encoder')}, but the encoder has "
            f"{[f'{feature.name} of {feature.encoder}' for feature in spec.maps]}; choose another variant, or a "
            "pair of encoders such as 'vit_b+hipt-s16'."
        )
    return FeatureSpec(selected)


def _variant(published: Mapping[str, Tensor], sources: Sequence[str]) -> tuple[str, str | None]:
    """Return the variant of published weights, and the name of their trained neck."""
    if "fusion_neck.0.weight" in published:
        return "fusion", "fusion_neck"
    if "extra_encoder.neck.0.weight" not in published:
        return "sam_only", None
    return ("plus" if len(sources) == 2 else "pathology_only"), "extra_encoder.neck"


def _reference_spec(
    published: Mapping[str, Tensor], variant: str, neck: str | None, sources: Sequence[str]
) -> FeatureSpec:
    """Describe the maps that imported weights read, SAM's first, in the order of the published code."""
    embedding = FeatureMap("embedding", WIDTH, sources[0])
    if neck is None:
        return FeatureSpec((embedding,))
    channels = int(published[f"{neck}.0.weight"].shape[1])
    name = f"{sources[-1]}.tokens" if len(sources) == 2 else "tokens"
    if variant == "fusion" and len(sources) == 2:
        norm = published.get("extra_encoder.model.norm.weight")
        # If the checkpoint lacks the encoders, the pathology encoder has 384 of 1,152 channels
        second = channels // 3 if norm is None else norm.shape[0]
        first = FeatureMap("tokens", channels - second, sources[0])
        return FeatureSpec((first, FeatureMap(name, second, sources[1])))
    last = FeatureMap(name, channels, sources[-1])
    return FeatureSpec((embedding, last) if variant == "plus" else (last,))
