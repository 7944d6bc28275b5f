"""Convert the weights of CLIP models in the layout of `transformers` to the layout of open_clip."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_TOWERS = {"vision_model.": "visual.", "text_model.": ""}
_FIXED = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "visual_projection.weight": "visual.proj",
    "text_projection.weight": "text_projection",
    "logit_scale": "logit_scale",
}
_NORMS = {
    "vision_model.pre_layrnorm": "visual.ln_pre",  # the misspelling is that of transformers
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.final_layer_norm": "ln_final",
}
_LAYER = re.compile(r"(vision_model\.|text_model\.)encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def is_transformers_clip(state: Mapping[str, Tensor]) -> bool:
    """Return True if weights have the layout of `transformers.CLIPModel`."""
    return "vision_model.embeddings.class_embedding" in state and "visual_projection.weight" in state


def convert_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the weights of a `transformers.CLIPModel` to those of `open_clip.CLIP`.

    Args:
        state: Name -> tensor; the projections of queries, keys and values are separate tensors.

    Returns:
        Name in open_clip -> tensor, with the three projections of each layer stacked.

    Raises:
        KeyError: If a tensor belongs to another kind of model.
    """
    converted: dict[str, Tensor] = {}
    for name, value in state.items():
        layer = _LAYER.fullmatch(name)
        stem, _, kind = name.rpartition(".")
        if name.endswith("position_ids"):
            continue
        if name in _FIXED:
            # Linear layers store the transpose of the matrices that open_clip multiplies from the right.
            transposed = name.endswith("_projection.weight")
            converted[_FIXED[name]] = value.T.contiguous() if transposed else value
        elif stem in _NORMS:
            converted[f"{_NORMS[stem]}.{kind}"] = value
        elif layer is None:
            raise KeyError(f"unexpected tensor '{name}'")
        else:
            tower, number, part, kind = layer.groups()
            prefix = f"{_TOWERS[tower]}transformer.resblocks.{number}"
            if part in _PARTS:
                converted[f"{prefix}.{_PARTS[part]}.{kind}"] = value
            elif part == "self_attn.q_proj":
                names = [name.replace(".q_proj.", f".{letter}_proj.") for letter in "qkv"]
                converted[f"{prefix}.attn.in_proj_{kind}"] = torch.cat([state[key] for key in names])
    return converted
