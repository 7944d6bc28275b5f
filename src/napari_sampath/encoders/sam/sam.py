"""Segment Anything (Kirillov et al. 2023): ViT-B, L, H, and your own files in SAM's format."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ...arrays import GRID, FeatureMap, FeatureSpec
from ...errors import WeightsError, WeightsMissingError
from ...geometry import INPUT_PX
from ...jobs import run
from ..base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry
from ..weights.weights import WeightsFile, encoder_digest, load_state_dict, locate_job
from .image_encoder import ImageEncoder
from .prompt_parts import CHANNELS, build_mask_decoder, build_prompt_encoder
from .sam_format import Architecture, check_tensors, deduce, sam_keys

_URL = "https://dl.fbaipublicfiles.com/segment_anything/"


OFFICIAL = {
    "vit_b": Architecture(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": Architecture(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": Architecture(1280, 32, 16, (7, 15, 23, 31)),
}

FILES = {
    "vit_b": WeightsFile(
        "sam_vit_b_01ec64.pth",
        _URL + "sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        375_042_383,
    ),
    "vit_l": WeightsFile(
        "sam_vit_l_0b3195.pth",
        _URL + "sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        1_249_524_607,
    ),
    "vit_h": WeightsFile(
        "sam_vit_h_4b8939.pth",
        _URL + "sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        2_564_550_879,
    ),
}
"""The published checkpoints, github.com/facebookresearch/segment-anything, "Model Checkpoints"."""


class SamEncoder(Encoder):
    """SAM's image encoder: `embedding` (256, 64, 64), and before the neck `tokens` (D, 64, 64).

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
    """Build SAM's three parts from tensors, which are used without copying.

    Args:
        state: From `sam_keys`.
        architecture: From `deduce`, or one of `OFFICIAL`.
        info: Name, licence, origin.
        source: Name of the file, for messages.

    Raises:
        WeightsError: If tensors are missing, surplus or of another shape.
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
    """Build from a file in SAM's format, whatever its sizes.

    Args:
        path: The file.
        info: Description of the requested encoder; the file of an official one must have its size.

    Raises:
        WeightsError: If the file has another format or size.
    """
    state = sam_keys(load_state_dict(path), str(path))
    architecture = deduce(state, str(path))
    if architecture.input_px != INPUT_PX or architecture.patch_px != INPUT_PX // GRID:
        raise WeightsError(
            f"'{path}' is for images of {architecture.input_px} px in patches of {architecture.patch_px} px; "
            f"allowed are SAM's {INPUT_PX} px in patches of 16 px."
        )
    if OFFICIAL.get(info.name, architecture) != architecture:
        names = [name for name, official in OFFICIAL.items() if official == architecture] or ["sam"]
        raise WeightsError(
            f"'{path}' does not have the size of {info.name} (embed_dim {architecture.embed_dim}, "
            f"{architecture.depth} blocks); load it as '{names[0]}'."
        )
    return assemble(state, architecture, info, str(path))


def _build_official(info: EncoderInfo, path: Path | None) -> EncoderParts:
    if path is None or not path.is_file():
        path = run(locate_job(FILES[info.name], path))
    return build_file(path, info)


def _build_own(info: EncoderInfo, path: Path | None) -> EncoderParts:
    if path is None:
        raise WeightsMissingError(
            "The encoder 'sam' is for a file of your own in SAM's format; name that file as its weights."
        )
    return build_file(path, info)


def _register() -> None:
    for name, title in (("vit_b", "ViT-B"), ("vit_l", "ViT-L"), ("vit_h", "ViT-H")):
        file = FILES[name]
        info = EncoderInfo(
            name=name,
            summary=f"Segment Anything {title} by Meta AI, downloaded at first use ({file.size / 1e9:.1f} GB).",
            licence="Apache-2.0",
            source_url="https://github.com/facebookresearch/segment-anything",
            promptable=True,
            size_mb=file.size / 1e6,
        )
        build, fetch = partial(_build_official, info), partial(locate_job, file)
        registry.register(name)(EncoderEntry(info, build, fetch, file.name))
    own = EncoderInfo(
        name="sam",
        summary="A weights file of your own in SAM's format (MedSAM, a fine-tuned SAM ...).",
        licence="that of the file",
        source_url="",
        promptable=True,
        size_mb=0.0,
    )
    registry.register("sam")(EncoderEntry(own, partial(_build_own, own)))


_register()
