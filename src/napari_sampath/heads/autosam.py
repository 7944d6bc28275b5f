"""AutoSAM's ViT head (Hu et al. 2023, xhu248/AutoSAM): SAM's decoder without prompts, asked for each class."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor

from ..arrays import ClassInfo, FeatureSpec
from ..errors import DatasetError, WeightsError
from .base import Argument, Head, embedding_spec, load_own, reference_classes, registry
from .sam_decoder import WIDTH, PositionEncoding, TokenDecoder, copy_decoder, copy_position

_MASKS = 2
"""Mask tokens of each class; the first one's mask is the answer."""
_PREFIXES = ("module.", "mask_decoder.")


@registry.register("autosam")
class AutoSamHead(Head):
    """Own IoU and mask tokens for each class; the embedding is repeated for each of them.

    What the reference does not train (IoU tokens and network), or trains in vain (the second mask's network),
    is kept frozen, so that weights go both ways.

    Args:
        spec: The maps there are; it reads the embedding.
        classes: What it tells apart.
        sam_position: Start from SAM's positional encoding, with which the decoder was trained; the reference
            draws one of its own.

    Raises:
        DatasetError: If the encoder yields no embedding of 256 channels.
    """

    kind = "autosam"
    summary = (
        "AutoSAM's ViT head (Hu et al. 2023): SAM's decoder asked by its own tokens, once for each class."
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

    @property
    def arguments(self) -> dict[str, Argument]:
        """What builds the same head again."""
        return {"sam_position": self.sam_position}

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, 256, h, w)} to logits (B, K, 4h, 4w)."""
        answers, upscaled = self.ask(self.gather(maps))
        logits = self.decoder.masks(answers[:, 1:2], upscaled, slice(0, 1))
        return logits.reshape(-1, len(self.classes), *logits.shape[2:])

    def ask(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Ask for every class.

        Args:
            image: (B, 256, h, w), the embedding; no dense prompt is added to it.

        Returns:
            The tokens (B * K, 3, 256) and the map (B * K, 32, 4h, 4w), class c of image b at b * K + c.
        """
        batch, _, height, width = image.shape
        repeated = image.repeat_interleave(len(self.classes), dim=0)
        return self.decoder.ask(repeated, self.pe_layer(height, width), self.tokens().repeat(batch, 1, 1))

    def tokens(self) -> Tensor:
        """Return what each class asks with, (K, 3, 256): its IoU token and its two mask tokens."""
        masks = self.decoder.mask_tokens.weight.view(len(self.classes), _MASKS, WIDTH)
        return torch.cat([self.decoder.iou_token.weight.unsqueeze(1), masks], dim=1)

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Start from SAM's decoder, but for its tokens; without a prompt decoder, from scratch."""
        if sam is None:
            return
        copy_decoder(self.decoder, sam, ("iou", "mask_tokens"))
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
        """Build the head from the weights of the reference's `MaskDecoder`, alone or in the whole model.

        See `CNNHead` for `input_norm`.

        Warns:
            UserWarning: If the positional encoding is not there: the reference's own way of saving the head
                alone leaves it out, and what the head then answers is not what it was trained to.
        """
        own = {}
        for key, value in state.items():
            short = key
            for prefix in _PREFIXES:
                short = short.removeprefix(prefix)
            own[short] = value
        tokens = own.get("iou_token.weight")
        masks = own.get("mask_tokens.weight")
        if tokens is None or masks is None or len(masks) != _MASKS * len(tokens):
            raise WeightsError(
                "The weights are not those of AutoSAM's ViT head (keys iou_token, mask_tokens with two rows a "
                "class); give its state_dict, alone or inside that of the whole model."
            )
        spec = embedding_spec(WIDTH, encoder, input_norm)
        head = cls(spec, reference_classes(len(tokens), classes), sam_position=False)
        name = "pe_layer.positional_encoding_gaussian_matrix"
        own_names = {key: key.removeprefix("decoder.") for key in head.state_dict()}
        picked = {key: own[short] for key, short in own_names.items() if short in own}
        if name not in picked:
            warnings.warn(
                "The weights hold no positional encoding (pe_layer), as the reference saves its head: a random one "
                "stands in for it, so the head must be trained further before its answers mean anything.",
                stacklevel=2,
            )
            picked[name] = head.state_dict()[name]
        load_own(head, picked, "The weights")
        return head


def only_embedding(spec: FeatureSpec, kind: str) -> FeatureSpec:
    """Keep the embedding of the maps there are.

    Raises:
        DatasetError: If there is none of 256 channels.
    """
    found = tuple(one for one in spec.maps if one.name == "embedding" and one.channels == WIDTH)
    if not found:
        raise DatasetError(
            f"A head of the kind '{kind}' reads an embedding with {WIDTH} channels, the encoder yields "
            f"{[f'{one.name} ({one.channels})' for one in spec.maps]}; choose an encoder with SAM's interface."
        )
    return FeatureSpec(found)
