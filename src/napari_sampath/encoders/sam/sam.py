"""Segment Anything (Kirillov et al. 2023), built from a file in SAM's format."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...arrays import GRID, FeatureMap, FeatureSpec
from ...errors import WeightsError
from ...geometry import INPUT_PX
from ..base import Encoder, EncoderInfo, EncoderParts
from ..weights.weights import encoder_digest, load_state_dict
from .image_encoder import ImageEncoder
from .prompt_parts import CHANNELS, build_mask_decoder, build_prompt_encoder
from .sam_format import Architecture, check_tensors, deduce, sam_keys

OFFICIAL = {
    "vit_b": Architecture(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": Architecture(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": Architecture(1280, 32, 16, (7, 15, 23, 31)),
}
"""Sizes of the three encoders that Meta AI published."""


class SamEncoder(Encoder):
    """SAM's image encoder; returns `embedding` (256, 64, 64) and the `tokens` (D, 64, 64) before the neck.

    Args:
        info: See `Encoder`.
        image_encoder: The network.
        weights_digest: See `Encoder`.
    """

    def __init__(self, info: EncoderInfo, image_encoder: ImageEncoder, weights_digest: str) -> None:
        tokens = image_encoder.pos_embed.shape[-1]
        maps = FeatureMap("embedding", CHANNELS, info.name), FeatureMap("tokens", tokens, info.name)
        super().__init__(info, FeatureSpec(maps), weights_digest)
        self.image_encoder = image_encoder

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) to {"embedding": (B, 256, S / 16, S / 16), "tokens": (B, D, S / 16, S / 16)}."""
        embedding, tokens = self.image_encoder(pixels)
        return {"embedding": embedding, "tokens": tokens}

    def name_in_file(self, name: str) -> str:
        """See `Encoder`."""
        return name.replace("image_encoder.image_encoder.", "image_encoder.", 1)


def assemble(
    state: Mapping[str, Tensor], architecture: Architecture, info: EncoderInfo, source: str = "weights"
) -> EncoderParts:
    """Build SAM's three parts around the given tensors, without copying them.

    Args:
        state: From `sam_keys`.
        architecture: From `deduce`, or one of `OFFICIAL`.
        info: Description of the encoder.
        source: Name of the file for error messages.

    Raises:
        WeightsError: If tensors are missing, unexpected or of a different shape.
    """
    with torch.device("meta"):
        image_encoder = ImageEncoder(architecture, CHANNELS)
        parts = nn.ModuleDict(
            {
                "image_encoder": image_encoder,
                "prompt_encoder": build_prompt_encoder(architecture.grid, architecture.input_px),
                "mask_decoder": build_mask_decoder(),
            }
        )
    check_tensors(parts.state_dict(), state, source)
    parts.load_state_dict(dict(state), assign=True)
    parts.requires_grad_(False).eval()
    encoder = SamEncoder(info, image_encoder, encoder_digest(state))
    return EncoderParts(encoder, parts["prompt_encoder"], parts["mask_decoder"])


def build_file(path: Path, info: EncoderInfo) -> EncoderParts:
    """Build an encoder of any size from a file in SAM's format.

    Args:
        path: The file.
        info: Description of the requested encoder; for an official encoder, the file must match its size.

    Raises:
        WeightsError: If the file has a different format or size.
    """
    state = sam_keys(load_state_dict(path), str(path))
    architecture = deduce(state, str(path))
    if architecture.input_px != INPUT_PX or architecture.patch_px != INPUT_PX // GRID:
        raise WeightsError(
            f"'{path}' is for images of {architecture.input_px} px in patches of {architecture.patch_px} px; "
            f"use a file for SAM's {INPUT_PX} px in patches of {INPUT_PX // GRID} px."
        )
    if OFFICIAL.get(info.name, architecture) != architecture:
        names = [name for name, official in OFFICIAL.items() if official == architecture] or ["sam"]
        raise WeightsError(
            f"'{path}' does not have the size of {info.name} (embed_dim {architecture.embed_dim}, "
            f"{architecture.depth} blocks); load it as '{names[0]}'."
        )
    return assemble(state, architecture, info, str(path))
