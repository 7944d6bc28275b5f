"""Vision transformers of the catalogue with small width and random weights, in their usual file formats."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import timm
import torch

from napari_sampath.encoders.pathology.pathology import MODELS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sampath.encoders.pathology.vision_transformer import PathologyModel

SMALL = {"embed_dim": 32, "depth": 2, "num_heads": 2}
ROWS = {model.name: model for model in MODELS}


def image(hw: tuple[int, int] = (300, 400), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*hw, 3), dtype=np.uint8)


def one_sentence(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.endswith((".", "'."))
    return text


def small(model: PathologyModel) -> PathologyModel:
    return dataclasses.replace(model, options={**model.options, **SMALL})


def reference(model: PathologyModel, seed: int = 0, **options: Any) -> Any:
    """Build the network of a row with timm; parameters that timm sets to zero or one are random too."""
    network = timm.create_model(model.architecture, num_classes=0, **{**model.options, **options}).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 0.3 if parameter.ndim == 1 else 1.0 / parameter[0].numel() ** 0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return network.requires_grad_(False)


def to_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename parameters to those of a vision transformer in the transformers library."""
    plain = {
        "cls_token": "embeddings.cls_token",
        "pos_embed": "embeddings.position_embeddings",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
        "norm.weight": "layernorm.weight",
        "norm.bias": "layernorm.bias",
    }
    inner = {
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
    }
    renamed: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if key in plain:
            renamed[plain[key]] = value
            continue
        _, block, rest = key.split(".", 2)
        part, leaf = rest.rsplit(".", 1)
        if part == "attn.qkv":
            for name, third in zip(("query", "key", "value"), value.chunk(3), strict=True):
                renamed[f"encoder.layer.{block}.attention.attention.{name}.{leaf}"] = third
        else:
            renamed[f"encoder.layer.{block}.{inner[part]}.{leaf}"] = value
    return renamed


def write(model: PathologyModel, path: Path, seed: int = 0) -> Path:
    """Save random weights of a small network, with its usual image size and parameter names."""
    state = reference(model, seed).state_dict()
    if model.name == "phikon":
        state = to_transformers(state)
    if model.name == "hipt-s16":
        teacher = {f"backbone.{key}": value for key, value in state.items()}
        torch.save({"teacher": teacher, "args": argparse.Namespace(lr=1e-4), "epoch": 3}, path)
    else:
        safetensors.torch.save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path
