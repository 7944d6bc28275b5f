"""MobileSAM (Zhang et al. 2023): SAM with a TinyViT (Wu et al. 2022, from timm) as image encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn

from ...arrays import FeatureMap, FeatureSpec
from ...jobs import run
from ..base import Encoder, EncoderEntry, EncoderInfo, EncoderParts, registry
from ..weights.weights import WeightsFile, encoder_digest, load_state_dict, locate_job
from .prompt_parts import CHANNELS, build_mask_decoder, build_prompt_encoder
from .sam_format import check_tensors, sam_keys

FILE = WeightsFile(
    "mobile_sam.pt",
    "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/mobile_sam.pt",
    "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
    40_728_226,
)

INFO = EncoderInfo(
    name="vit_t",
    summary="MobileSAM: SAM with a small encoder, fast on a CPU, downloaded on first use (41 MB).",
    licence="Apache-2.0",
    source_url="https://github.com/ChaoningZhang/MobileSAM",
    promptable=True,
    size_mb=FILE.size / 1e6,
)

_LANDMARK = "image_encoder.patch_embed.seq.0.c.weight"
_WIDTHS = (64, 128, 160, 320)

_NAMES = (
    (r"\.vit\.stages\.(\d+)\.downsample\.", lambda match: f".layers.{int(match[1]) - 1}.downsample."),
    (r"\.vit\.stages\.", ".layers."),
    (r"\.vit\.patch_embed\.conv1\.", ".patch_embed.seq.0."),
    (r"\.vit\.patch_embed\.conv2\.", ".patch_embed.seq.2."),
    (r"\.vit\.head\.norm\.", ".norm_head."),
    (r"\.vit\.head\.fc\.", ".head."),
    (r"\.conv\.", ".c."),
)
"""Replacements that turn our tensor names into MobileSAM's.

timm downsamples at the beginning of a stage, MobileSAM at the end of the previous one.
"""


class MobileSamEncoder(Encoder):
    """TinyViT with SAM's neck; returns `embedding` (256, 64, 64) and the `tokens` (320, 64, 64) before the neck.

    Args:
        weights_digest: See `Encoder`.
    """

    def __init__(self, weights_digest: str = "untrained") -> None:
        maps = FeatureMap("embedding", CHANNELS, INFO.name), FeatureMap("tokens", _WIDTHS[-1], INFO.name)
        super().__init__(INFO, FeatureSpec(maps), weights_digest)
        from timm.models.tiny_vit import TinyVit  # imports torchvision, which takes a second

        self.vit = TinyVit(
            embed_dims=_WIDTHS,
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        # MobileSAM does not downsample before the last stage: the grid stays 64 x 64.
        self.vit.stages[-1].downsample.conv2.conv.stride = (1, 1)
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTHS[-1], CHANNELS, kernel_size=1, bias=False),
            LayerNorm2d(CHANNELS),
            nn.Conv2d(CHANNELS, CHANNELS, kernel_size=3, padding=1, bias=False),
            LayerNorm2d(CHANNELS),
        )

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Map (B, 3, S, S) to {"embedding": (B, 256, S / 16, S / 16), "tokens": (B, 320, S / 16, S / 16)}."""
        tokens = self.vit.stages(self.vit.patch_embed(pixels))
        return {"embedding": self.neck(tokens), "tokens": tokens}

    def name_in_file(self, name: str) -> str:
        """See `Encoder`."""
        return mobile_sam_name(name)


def mobile_sam_name(name: str) -> str:
    """Map the name of a tensor in our modules to its name in MobileSAM's file."""
    if name.startswith("image_encoder."):
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)
    return name


def assemble(state: Mapping[str, Tensor], source: str = "weights") -> EncoderParts:
    """Build the three parts and load weights.

    Args:
        state: The 439 tensors under MobileSAM's names.
        source: Name of the file for error messages.

    Raises:
        WeightsError: If tensors are missing, unexpected or of a different shape.
    """
    encoder = MobileSamEncoder(encoder_digest(state))
    prompt_encoder, mask_decoder = build_prompt_encoder(), build_mask_decoder()
    parts = nn.ModuleDict(
        {"image_encoder": encoder, "prompt_encoder": prompt_encoder, "mask_decoder": mask_decoder}
    )
    own = parts.state_dict()
    check_tensors({mobile_sam_name(name): own[name] for name in own}, state, source, "MobileSAM")
    parts.load_state_dict({name: state[mobile_sam_name(name)] for name in own})
    # timm caches the attention biases until `train` or `eval` is called.
    parts.requires_grad_(False).eval()
    return EncoderParts(encoder, prompt_encoder, mask_decoder)


def build(path: Path | None = None) -> EncoderParts:
    """Build `vit_t` with the official weights or from a file in MobileSAM's format.

    Raises:
        WeightsError: If the file has a different format.
    """
    if path is None or not path.is_file():
        path = run(locate_job(FILE, path))
    return assemble(sam_keys(load_state_dict(path), str(path), _LANDMARK), str(path))


registry.register(INFO.name)(EncoderEntry(INFO, build, partial(locate_job, FILE), FILE.name))
