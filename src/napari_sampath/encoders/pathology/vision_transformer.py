"""timm vision transformers built from published weights, with tensors renamed and position embeddings resized."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...arrays import GRID
from ...errors import WeightsError
from ...jobs import Job, run
from ..base import EncoderInfo, EncoderParts
from ..sam.sam_format import check_tensors
from ..weights.hub import HubFile, locate_hub_job
from ..weights.weights import WeightsFile, digest, load_state_dict, locate_job
from .hipt import resize_position
from .timm_encoder import RGB, TimmEncoder

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

_LANDMARK = "patch_embed.proj.weight"
_UNUSED = ("head.", "mask_token", "pooler.")
"""Prefixes of tensors in published files that do not affect the tokens."""

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class PathologyModel:
    """A timm vision transformer with published weights trained on tissue; `pathology` lists them."""

    name: str
    summary: str
    licence: str
    architecture: str
    """Name of the model in timm."""
    patch_px: int
    weights: HubFile | WeightsFile
    mean: RGB = IMAGENET_MEAN
    std: RGB = IMAGENET_STD
    options: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of `timm.create_model`."""
    convert: Callable[[State], State] = dict
    """Function that renames the tensors of the file to timm's names."""
    page: str = ""
    """Address of the page with weights and licence, for weights that are not on the Hub."""
    dino_positions: bool = False
    """True if the position embedding is resized as in DINO, not as in timm."""

    @property
    def input_px(self) -> int:
        """Side in pixels of an input with 64 x 64 patches."""
        return GRID * self.patch_px

    @property
    def source_url(self) -> str:
        """Address of the page with weights and licence."""
        return self.weights.page if isinstance(self.weights, HubFile) else self.page

    @property
    def info(self) -> EncoderInfo:
        """Description of the encoder."""
        gated = isinstance(self.weights, HubFile) and self.weights.gated
        return EncoderInfo(
            self.name, self.summary, self.licence, self.source_url, False, self.weights.size / 1e6, gated
        )


def from_transformers(state: State) -> State:
    """Rename the tensors of a `ViTModel` of transformers to timm's names, concatenating query, key and value.

    Args:
        state: Tensors by name; timm's names are left unchanged.
    """
    renamed: State = {}
    for key, value in state.items():
        name = key
        for pattern, replacement in _TRANSFORMERS:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    for key in [key for key in renamed if ".attn.query." in key]:
        parts = [renamed.pop(key.replace("query", part), None) for part in ("query", "key", "value")]
        renamed[key.replace("query", "qkv")] = torch.cat([part for part in parts if part is not None])
    return renamed


_TRANSFORMERS = (
    (r"^(vit\.)?embeddings\.cls_token$", "cls_token"),
    (r"^(vit\.)?embeddings\.position_embeddings$", "pos_embed"),
    (r"^(vit\.)?embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^(vit\.)?embeddings\.mask_token$", "mask_token"),
    (r"^(vit\.)?layernorm\.", "norm."),
    (r"^(vit\.)?pooler\.", "pooler."),
    (r"^(vit\.)?encoder\.layer\.(\d+)\.", r"blocks.\2."),
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
)


def build_network(
    model: PathologyModel, state: Mapping[str, Tensor], hw: tuple[int, int], source: str
) -> Any:
    """Build a vision transformer from tensors, resizing its position embedding.

    Args:
        model: Description of the model.
        state: From `vit_keys`.
        hw: Size (H, W) of the input in pixels, multiples of the patch size.
        source: Name of the file for error messages.

    Raises:
        WeightsError: If tensors are missing, unexpected or of a different shape.
    """
    import timm  # imports torchvision, which takes longer than everything else that a prompt needs

    with torch.device("meta"):
        network: Any = timm.create_model(model.architecture, num_classes=0, img_size=hw, **model.options)
    expected, given = network.state_dict(), dict(state)
    grid = hw[0] // model.patch_px, hw[1] // model.patch_px
    position = given.get("pos_embed")
    if position is not None and position.ndim == 3:
        if model.dino_positions:
            given["pos_embed"] = resize_position(position, grid)
        else:
            prefix = expected["pos_embed"].shape[1] - grid[0] * grid[1]
            given["pos_embed"] = timm.layers.resample_abs_pos_embed(
                position, list(grid), num_prefix_tokens=prefix
            )
    check_tensors(expected, given, source, f"'{model.name}'")
    network.load_state_dict(given, assign=True)
    return network.eval()


def vit_keys(model: PathologyModel, state: Mapping[str, Tensor], source: str) -> State:
    """Rename the tensors of a file to timm's names, without prefix ("module.", "backbone.") and classifier, as float32.

    Raises:
        WeightsError: If the file does not contain a vision transformer.
    """
    converted = model.convert(dict(state))
    prefix = next((key.removesuffix(_LANDMARK) for key in converted if key.endswith(_LANDMARK)), None)
    if prefix is None:
        raise WeightsError(
            f"'{source}' is not a weights file of '{model.name}': it has no '{_LANDMARK}'; "
            f"use the file from {model.source_url}."
        )
    names = {key: key.removeprefix(prefix) for key in converted if key.startswith(prefix)}
    return {name: converted[key].float() for key, name in names.items() if not name.startswith(_UNUSED)}


def fetch(model: PathologyModel, explicit: Path | None = None) -> Job[Path]:
    """Find or download the weights of a model; see `locate_job` and `locate_hub_job`."""
    if isinstance(model.weights, HubFile):
        return locate_hub_job(model.weights, explicit)
    return locate_job(model.weights, explicit)


def build(model: PathologyModel, path: Path | None = None) -> EncoderParts:
    """Build an encoder with its published weights or from a file.

    Raises:
        WeightsMissingError: If the weights are not on this machine and cannot be downloaded.
        WeightsError: If the file is unreadable or belongs to another model.
    """
    if path is None or not path.is_file():
        path = run(fetch(model, path))
    state = vit_keys(model, load_state_dict(path), str(path))
    network = build_network(model, state, (model.input_px, model.input_px), str(path))
    last = len(network.feature_info) - 1
    encoder = TimmEncoder(model.info, network, digest(state), model.mean, model.std, model.input_px, last)
    return EncoderParts(encoder.requires_grad_(False).eval())
