"""AutoSAM's ViT head (Hu et al. 2023, xhu248/AutoSAM): SAM's decoder without prompts, run once for each class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from ..arrays import ClassInfo, FeatureSpec
from ..errors import DatasetError, WeightsError
from .base import Head, load_weights, registry
from .published import AUTOSAM_WRAPPERS, embedding_spec, reference_classes, rename_tensors, require_tensors
from .sam_decoder import POSITION_MATRIX, WIDTH, PositionEncoding, TokenDecoder, copy_decoder, copy_position

_MASKS = 2
"""Number of mask tokens per class; only the mask of the first token is used."""


@registry.register("autosam")
class AutoSamHead(Head):
    """SAM's decoder with separate IoU and mask tokens for each class, run once per class on the same embedding.

    Parameters that the published code does not train (IoU tokens and network) or that have no effect on the output
    (the network of the second mask) are kept frozen, so that weights can be exchanged in both directions.

    Args:
        spec: The available maps; the head reads the embedding.
        classes: The classes to distinguish.
        sam_position: Start from SAM's positional encoding, with which the decoder was trained; the published code
            starts from a random encoding.

    Raises:
        DatasetError: If the encoder has no embedding of 256 channels.
    """

    kind = "autosam"
    summary = (
        "AutoSAM's ViT head (Hu et al. 2023): SAM's decoder with learned tokens, run once for each class."
    )
    reads_windows = False

    def __init__(self, spec: FeatureSpec, classes: Sequence[ClassInfo], sam_position: bool = True) -> None:
        super().__init__(only_embedding(spec, self.kind), classes)
        self.sam_position = sam_position
        count = len(self.classes)
        self.decoder = TokenDecoder(count, _MASKS * count, mask_networks=_MASKS, iou_outputs=_MASKS)
        for unused in (
            self.decoder.iou_token,
            self.decoder.iou_prediction_head,
            self.decoder.output_hypernetworks_mlps[1],
        ):
            unused.requires_grad_(False)
        self.pe_layer = PositionEncoding()

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, 256, h, w)} to logits (B, K, 4h, 4w)."""
        tokens, upscaled = self.run_decoder(self.gather(maps))
        logits = self.decoder.masks(tokens[:, 1:2], upscaled, slice(0, 1))
        return logits.reshape(-1, len(self.classes), *logits.shape[2:])

    def run_decoder(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Run SAM's decoder for every class.

        Args:
            image: (B, 256, h, w), the embedding; no dense prompt is added to it.

        Returns:
            The output tokens (B * K, 3, 256) and the map (B * K, 32, 4h, 4w); class c of image b is at b * K + c.
        """
        batch, _, height, width = image.shape
        repeated = image.repeat_interleave(len(self.classes), dim=0)
        tokens, upscaled = self.decoder(
            repeated, self.pe_layer(height, width), self.tokens().repeat(batch, 1, 1)
        )
        return tokens, upscaled

    def tokens(self) -> Tensor:
        """Return the input tokens (K, 3, 256): for each class its IoU token and its two mask tokens."""
        masks = self.decoder.mask_tokens.weight.view(len(self.classes), _MASKS, WIDTH)
        return torch.cat([self.decoder.iou_token.weight.unsqueeze(1), masks], dim=1)

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Copy SAM's decoder except its tokens; keep random weights if there is no decoder to copy."""
        if sam is None:
            return
        copy_decoder(self.decoder, sam, skip=("iou", "mask_tokens"))
        if self.sam_position:
            copy_position(self.pe_layer, sam)

    @classmethod
    def import_reference(
        cls,
        state: Mapping[str, Tensor],
        classes: Sequence[ClassInfo] | None = None,
        encoder: str = "vit_b",
        input_norm: str = "minmax01",
    ) -> Self:
        """Build the head from the weights of the published `MaskDecoder`, alone or inside a whole model.

        See `CNNHead` for `input_norm`.

        Warns:
            UserWarning: If the positional encoding is missing. The published code does not save it with the head
                alone, and without it the output is not meaningful until the head is trained further.
        """
        tensors = rename_tensors(state, {"": ""}, AUTOSAM_WRAPPERS)
        tokens, masks = require_tensors(
            tensors,
            ("iou_token.weight", "mask_tokens.weight"),
            "AutoSAM's ViT head",
            "give its state_dict, alone or inside the state_dict of the whole model",
        )
        if len(masks) != _MASKS * len(tokens):
            raise WeightsError(
                f"The weights have {len(masks)} mask tokens for {len(tokens)} classes; "
                f"AutoSAM's ViT head has {_MASKS} for each class."
            )
        spec = embedding_spec(WIDTH, encoder, input_norm)
        head = cls(spec, reference_classes(len(tokens), classes), sam_position=False)
        published_names = {key: key.removeprefix("decoder.") for key in head.state_dict()}
        own = {key: tensors[name] for key, name in published_names.items() if name in tensors}
        if POSITION_MATRIX not in own:
            warnings.warn(
                "The weights contain no positional encoding (pe_layer), since the published code does not save it with "
                "the head; a random one is used instead, so train the head further before you use it.",
                stacklevel=2,
            )
            own[POSITION_MATRIX] = head.state_dict()[POSITION_MATRIX]
        load_weights(head, own, "The weights")
        return head


def only_embedding(spec: FeatureSpec, kind: str) -> FeatureSpec:
    """Select the embedding from the available maps.

    Raises:
        DatasetError: If there is no embedding with 256 channels.
    """
    embedding = tuple(
        feature for feature in spec.maps if feature.name == "embedding" and feature.channels == WIDTH
    )
    if not embedding:
        raise DatasetError(
            f"A '{kind}' head reads an embedding with {WIDTH} channels, but the encoder provides "
            f"{[f'{feature.name} ({feature.channels})' for feature in spec.maps]}; choose an encoder with SAM's "
            "interface."
        )
    return FeatureSpec(embedding)
