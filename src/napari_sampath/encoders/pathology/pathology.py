"""Table of pathology encoders: address and licence of the weights, architecture and normalisation.

Sources: the repositories' model cards; for the normalisation, TRIDENT and eva.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn

from ..base import EncoderEntry, registry
from ..weights.hub import HubFile
from ..weights.weights import WeightsFile
from .vision_transformer import PathologyModel, build, fetch, from_transformers

_HALF = (0.5, 0.5, 0.5)
_LUNIT_MEAN = (0.70322989, 0.53606487, 0.66096631)
_LUNIT_STD = (0.21716536, 0.26081574, 0.20723464)
_LUNIT = "Lunit non-commercial"
_KAIKO = "kaiko.ai non-commercial"
_NO_DERIVATIVES = "CC-BY-NC-ND-4.0"


def _gated_mlp(*args: Any, **options: Any) -> Any:
    """Build timm's SwiGLUPacked; timm is imported when a model is built, because it imports torchvision."""
    from timm.layers import SwiGLUPacked

    return SwiGLUPacked(*args, **options)


def _lunit(patch_px: int) -> PathologyModel:
    repository = f"1aurent/vit_small_patch{patch_px}_224.lunit_dino"
    return PathologyModel(
        name=f"lunit-s{patch_px}",
        summary=f"Lunit ViT-S/{patch_px}, trained with DINO on 33 million tissue patches.",
        licence=_LUNIT,
        architecture=f"vit_small_patch{patch_px}_224",
        patch_px=patch_px,
        weights=HubFile(f"lunit-s{patch_px}.safetensors", repository, 86_700_000),
        mean=_LUNIT_MEAN,
        std=_LUNIT_STD,
    )


def _kaiko(size: str, patch_px: int, size_bytes: int) -> PathologyModel:
    repository = f"1aurent/vit_{size}_patch{patch_px}_224.kaiko_ai_towards_large_pathology_fms"
    name = f"kaiko-{size[0]}{patch_px}"
    return PathologyModel(
        name=name,
        summary=f"kaiko.ai ViT-{size[0].upper()}/{patch_px}, trained with DINO on TCGA slides.",
        licence=_KAIKO,
        architecture=f"vit_{size}_patch{patch_px}_224",
        patch_px=patch_px,
        weights=HubFile(f"{name}.safetensors", repository, size_bytes),
        mean=_HALF,
        std=_HALF,
    )


MODELS = (
    PathologyModel(
        name="hipt-s16",
        summary="HIPT ViT-S/16, trained with DINO on 104 million TCGA patches; the encoder of SAM-Path.",
        licence="Apache-2.0 with Commons Clause; the authors ask for non-commercial academic use",
        page="https://github.com/mahmoodlab/HIPT",
        architecture="vit_small_patch16_224",
        patch_px=16,
        weights=WeightsFile(
            "vit256_small_dino.pth",
            "https://media.githubusercontent.com/media/mahmoodlab/HIPT/master/HIPT_4K/Checkpoints/vit256_small_dino.pth",
            "6960cd5a8657dc8bb214671aa0c6dbd3f5b698e84386884955836487ddc89e24",
            704_238_867,
        ),
        mean=_HALF,
        std=_HALF,
        dino_positions=True,
    ),
    _lunit(16),
    _lunit(8),
    _kaiko("small", 16, 86_700_000),
    _kaiko("small", 8, 86_700_000),
    _kaiko("base", 16, 343_000_000),
    _kaiko("base", 8, 343_000_000),
    PathologyModel(
        name="kaiko-l14",
        summary="kaiko.ai ViT-L/14 with registers, trained with DINOv2 on TCGA slides.",
        licence=_KAIKO,
        architecture="vit_large_patch14_reg4_dinov2",
        patch_px=14,
        weights=HubFile(
            "kaiko-l14.safetensors",
            "1aurent/vit_large_patch14_reg4_224.kaiko_ai_towards_large_pathology_fms",
            1_220_000_000,
        ),
        mean=_HALF,
        std=_HALF,
    ),
    PathologyModel(
        name="phikon",
        summary="Owkin Phikon ViT-B/16, trained with iBOT on 40 million TCGA tiles.",
        licence="Owkin non-commercial",
        architecture="vit_base_patch16_224",
        patch_px=16,
        weights=HubFile("phikon.safetensors", "owkin/phikon", 346_000_000),
        convert=from_transformers,
    ),
    PathologyModel(
        name="uni",
        summary="UNI ViT-L/16, trained with DINOv2 on 100 million patches of 100,000 slides.",
        licence=_NO_DERIVATIVES,
        architecture="vit_large_patch16_224",
        patch_px=16,
        weights=HubFile("uni.bin", "MahmoodLab/UNI", 1_210_000_000, gated=True, file="pytorch_model.bin"),
        options={"init_values": 1e-5},
    ),
    PathologyModel(
        name="uni2-h",
        summary="UNI2-h ViT-H/14 with registers, trained with DINOv2 on 200 million patches.",
        licence=_NO_DERIVATIVES,
        architecture="vit_giant_patch14_224",
        patch_px=14,
        weights=HubFile(
            "uni2-h.bin", "MahmoodLab/UNI2-h", 2_730_000_000, gated=True, file="pytorch_model.bin"
        ),
        options={
            "embed_dim": 1536,
            "depth": 24,
            "num_heads": 24,
            "mlp_ratio": 2.66667 * 2,
            "mlp_layer": _gated_mlp,
            "act_layer": nn.SiLU,
            "init_values": 1e-5,
            "no_embed_class": True,
            "reg_tokens": 8,
        },
    ),
    PathologyModel(
        name="h-optimus-0",
        summary="H-optimus-0 ViT-g/14 with registers, trained with DINOv2 on 500,000 slides.",
        licence="Apache-2.0",
        architecture="vit_giant_patch14_reg4_dinov2",
        patch_px=14,
        weights=HubFile("h-optimus-0.safetensors", "bioptimus/H-optimus-0", 4_540_000_000, gated=True),
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
        options={"init_values": 1e-5},
    ),
)
for _model in MODELS:
    _cached = _model.weights.cached if isinstance(_model.weights, HubFile) else None
    registry.register(_model.name)(
        EncoderEntry(
            _model.info, partial(build, _model), partial(fetch, _model), _model.weights.name, _cached
        )
    )
