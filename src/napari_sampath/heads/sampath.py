"""SAM-Path (Zhang et al. 2023): class prompts, trainable mask tokens in SAM's mask decoder; one pass for all classes.

Written from the paper and from a description of the published program, which carries no licence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ..arrays import ClassInfo, FeatureMap, FeatureSpec
from ..errors import DatasetError, WeightsError
from .base import Argument, Head, load_own, reference_classes, registry
from .sam_decoder import WIDTH, PositionEncoding, TokenDecoder, copy_decoder, copy_position, new_neck, pick

VARIANTS = ("fusion", "sam_only", "pathology_only", "plus")
_UNUSED = 2
"""Leading mask tokens of the reference's checkpoints that stand for no class: SAM's first, and "unlabelled"."""


@registry.register("sampath")
class SamPathHead(Head):
    """Mask tokens that stand for classes ask SAM's mask decoder, all in one pass.

    What the decoder reads is chosen by `variant` from the maps of the encoder:

    - "fusion", the paper's method: all token maps, SAM's first, concatenated and reduced to 256 channels by
      the module R. With SAM alone that is SAM's tokens; of an encoder that yields the embedding alone
      (`sampath-tiny`), R reads the embedding, beside the tokens of the second encoder if there is one.
    - "sam_only", the paper's "w/o F_p": SAM's embedding as it is.
    - "pathology_only", "w/o F_s": the pathology encoder's tokens through a neck of their own.
    - "plus": SAM's embedding, added to the pathology encoder's tokens through a neck of their own.

    Args:
        spec: The maps there are.
        classes: What it tells apart.
        variant: One of the four.
        unused_tokens: Mask tokens before those of the classes; 2 in imported weights, whose first is SAM's
            and whose second stands for unlabelled pixels. They take part in the attention and answer nothing.

    Raises:
        DatasetError: If an argument is not allowed, or the encoder lacks the maps of the variant.
    """

    kind = "sampath"
    summary = (
        "SAM-Path (Zhang et al. 2023): class prompts in SAM's decoder, with a pathology encoder beside SAM's."
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
                f"The variant of a sampath head is '{variant}'; allowed: {', '.join(VARIANTS)}."
            )
        if unused_tokens not in (0, _UNUSED):
            raise DatasetError(f"unused_tokens of a sampath head is {unused_tokens}; allowed: 0, {_UNUSED}.")
        super().__init__(select_maps(spec, variant), classes)
        self.variant, self.unused_tokens = variant, unused_tokens
        tokens = unused_tokens + len(self.classes)
        self.decoder = TokenDecoder(1, tokens, mask_networks=tokens, iou_outputs=tokens)
        self.decoder.output_hypernetworks_mlps[:unused_tokens].requires_grad_(False)
        self.pe_layer = PositionEncoding()
        self.no_mask_embed: Tensor
        self.register_buffer("no_mask_embed", torch.zeros(1, WIDTH))
        added = self.spec.maps[1:] if variant == "plus" else self.spec.maps
        if variant != "sam_only":
            self.fusion_neck: nn.Sequential | None = new_neck(sum(one.channels for one in added))
        else:
            self.fusion_neck = None

    @property
    def arguments(self) -> dict[str, Argument]:
        """What builds the same head again."""
        return {"variant": self.variant, "unused_tokens": self.unused_tokens}

    def forward(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Map {map name: (B, C, h, w)} to logits (B, K, 4h, 4w)."""
        return self.forward_with_iou(maps)[0]

    def forward_with_iou(self, maps: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Return the logits (B, K, 4h, 4w) and the predicted IoU (B, K), which only a loss uses."""
        logits, iou = self.decode(self.fuse(maps), self.unused_tokens)
        return logits, iou

    def fuse(self, maps: Mapping[str, Tensor]) -> Tensor:
        """Make what the decoder reads, (B, 256, h, w)."""
        values = self.gather(maps)
        if self.fusion_neck is None:
            return values
        if self.variant == "plus":
            added: Tensor = values[:, :WIDTH] + self.fusion_neck(values[:, WIDTH:])
            return added
        fused: Tensor = self.fusion_neck(values)
        return fused

    def decode(self, image: Tensor, first: int) -> tuple[Tensor, Tensor]:
        """Answer for the mask tokens from the `first` on.

        Args:
            image: (B, 256, h, w), from `fuse`.
            first: 0 for all; 1 for what the reference calls its output, "unlabelled" and then the classes.

        Returns:
            Logits (B, m, 4h, 4w) and predicted IoU (B, m).
        """
        batch, _, height, width = image.shape
        tokens = torch.cat([self.decoder.iou_token.weight, self.decoder.mask_tokens.weight])
        answers, upscaled = self.decoder.ask(
            image + self.no_mask_embed.view(1, WIDTH, 1, 1),
            self.pe_layer(height, width),
            tokens.expand(batch, -1, -1),
        )
        logits = self.decoder.masks(answers[:, 1 + first :], upscaled, slice(first, None))
        return logits, self.decoder.iou_prediction_head(answers[:, 0])[:, first:]

    def init_from_sam(self, sam: Mapping[str, Tensor] | None) -> None:
        """Start from SAM's decoder; every class from SAM's first mask network, as the reference does.

        The class prompts themselves stay random. Without a prompt decoder all of it is learned from scratch.
        """
        if sam is None:
            return
        copy_position(self.pe_layer, sam)
        copy_decoder(self.decoder, sam, ("mask_tokens", "hypernetworks", "iou_prediction_head.layers.2"))
        with torch.no_grad():
            self.no_mask_embed.copy_(pick(sam, "prompt_encoder.no_mask_embed.weight", self.no_mask_embed))
            for network in self.decoder.output_hypernetworks_mlps:
                for name, own in network.state_dict().items():
                    own.copy_(pick(sam, f"mask_decoder.output_hypernetworks_mlps.0.{name}", own))

    @classmethod
    def import_reference(
        cls, state: Mapping[str, Tensor], classes: Sequence[ClassInfo] | None = None, encoder: str = "vit_b"
    ) -> Self:
        """Build the head from the `state_dict` of a Lightning checkpoint of SAM-Path, of any variant.

        The number of classes is that of its mask tokens less two. Which variant it is follows from the necks
        it holds; "plus" and "pathology_only" hold the same ones, and are told apart by `encoder`: a pair
        "vit_b+hipt-s16", or "hipt-s16" alone.
        """
        own = {key.removeprefix("model."): value for key, value in state.items()}
        if not any(key.startswith("mask_decoder.") for key in own):
            own = {key.removeprefix("model."): value for key, value in own.items()}
        tokens = own.get("mask_decoder.mask_tokens.weight")
        position = own.get("prompt_encoder.pe_layer.positional_encoding_gaussian_matrix")
        if tokens is None or position is None or len(tokens) < _UNUSED + 1:
            raise WeightsError(
                "The weights are not those of SAM-Path (keys model.mask_decoder, model.prompt_encoder); "
                "give the state_dict of its Lightning checkpoint."
            )
        sources = encoder.split("+")
        variant, neck = _variant(own, sources)
        picked = {"pe_layer.positional_encoding_gaussian_matrix": position}
        if "prompt_encoder.no_mask_embed.weight" in own:
            picked["no_mask_embed"] = own["prompt_encoder.no_mask_embed.weight"]
        for key, value in own.items():
            if key.startswith("mask_decoder."):
                picked[f"decoder.{key.removeprefix('mask_decoder.')}"] = value
            elif neck is not None and key.startswith(f"{neck}."):
                picked[f"fusion_neck.{key.removeprefix(f'{neck}.')}"] = value
        head = cls(
            _reference_spec(own, variant, neck, sources),
            reference_classes(len(tokens) - _UNUSED, classes),
            variant=variant,
            unused_tokens=_UNUSED,
        )
        load_own(head, picked, "The weights")
        return head


def select_maps(spec: FeatureSpec, variant: str) -> FeatureSpec:
    """Choose the maps that a variant reads; choosing again from the chosen changes nothing.

    Raises:
        DatasetError: If there is none.
    """
    embedding = tuple(one for one in spec.maps if one.name == "embedding")
    tokens = tuple(one for one in spec.maps if one.name == "tokens" or one.name.endswith(".tokens"))
    sam = {one.encoder for one in embedding}
    pathology = tuple(one for one in tokens if one.encoder not in sam)
    without_tokens = tuple(one for one in embedding if one.encoder not in {other.encoder for other in tokens})
    chosen = {
        "fusion": without_tokens + tokens,
        "sam_only": embedding,
        "pathology_only": pathology,
        "plus": embedding + pathology if embedding and pathology else (),
    }[variant]
    if not chosen:
        wanted = {"sam_only": "SAM's embedding", "plus": "SAM's embedding and a pathology encoder's tokens"}
        raise DatasetError(
            f"The variant '{variant}' reads {wanted.get(variant, 'a pathology encoder')}, the encoder yields "
            f"{[f'{one.name} of {one.encoder}' for one in spec.maps]}; choose another variant, or a pair of "
            "encoders such as 'vit_b+hipt-s16'."
        )
    return FeatureSpec(chosen)


def _variant(own: Mapping[str, Tensor], sources: Sequence[str]) -> tuple[str, str | None]:
    """Tell the variant of a reference's weights, and the name of the neck that is trained."""
    if "fusion_neck.0.weight" in own:
        return "fusion", "fusion_neck"
    if "extra_encoder.neck.0.weight" not in own:
        return "sam_only", None
    return ("plus" if len(sources) == 2 else "pathology_only"), "extra_encoder.neck"


def _reference_spec(
    own: Mapping[str, Tensor], variant: str, neck: str | None, sources: Sequence[str]
) -> FeatureSpec:
    """Describe the maps that imported weights read: SAM's first, as the reference concatenates them."""
    embedding = FeatureMap("embedding", WIDTH, sources[0])
    if neck is None:
        return FeatureSpec((embedding,))
    channels = int(own[f"{neck}.0.weight"].shape[1])
    name = f"{sources[-1]}.tokens" if len(sources) == 2 else "tokens"
    if variant == "fusion" and len(sources) == 2:
        pathology = (
            FeatureMap(name, own["extra_encoder.model.norm.weight"].shape[0], sources[1])
            if ("extra_encoder.model.norm.weight" in own)
            else FeatureMap(name, channels // 3, sources[1])
        )  # 384 of 1,152 where the encoders were left out
        return FeatureSpec((FeatureMap("tokens", channels - pathology.channels, sources[0]), pathology))
    last = FeatureMap(name, channels, sources[-1])
    return FeatureSpec((embedding, last) if variant == "plus" else (last,))
