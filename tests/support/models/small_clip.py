"""Small open_clip models with random weights, saved as open_clip saves models; no network is needed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
}
WEIGHTS = "open_clip_model.safetensors"


def save_small_clip(folder: Path, **changes: Any) -> Path:
    """Save a model with random weights; `changes` replace entries of its `model_cfg`."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = CONFIG | {"model_cfg": CONFIG["model_cfg"] | changes}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        network = open_clip.CLIP(**config["model_cfg"])
        # With open_clip's initial weights, all images have nearly the same embedding.
        network.visual.transformer.resblocks[0].attn.out_proj.weight *= 30
        network.token_embedding.weight *= 30
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / WEIGHTS)
    return folder
