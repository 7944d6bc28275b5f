"""Features and prompts to masks, heads over tiles.

The names are loaded on first use: masks are enlarged without torch, which takes seconds to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PLACES = {
    "Segmentation": "automatic",
    "segment": "automatic",
    "segment_job": "automatic",
    "EverythingMask": "everything",
    "segment_everything": "everything",
    "segment_everything_job": "everything",
    "EverythingSettings": "everything_settings",
    "import_head": "importing",
    "InstanceSettings": "instance_settings",
    "segment_instances": "instances",
    "segment_instances_job": "instances",
    "tell_apart_job": "instances",
    "load_model": "loading",
    "load_model_job": "loading",
    "full_masks": "masks",
    "image_logits": "masks",
    "local_mask": "masks",
    "mask_to_logits": "masks",
    "Model": "model",
    "PromptDecoder": "prompt",
    "Instance": "settling",
}
"""Public name -> the module that it is in."""

__all__ = [
    "EverythingMask",
    "EverythingSettings",
    "Instance",
    "InstanceSettings",
    "Model",
    "PromptDecoder",
    "Segmentation",
    "full_masks",
    "image_logits",
    "import_head",
    "load_model",
    "load_model_job",
    "local_mask",
    "mask_to_logits",
    "segment",
    "segment_everything",
    "segment_everything_job",
    "segment_instances",
    "segment_instances_job",
    "segment_job",
    "tell_apart_job",
]

if TYPE_CHECKING:
    from .automatic import Segmentation, segment, segment_job
    from .everything import EverythingMask, segment_everything, segment_everything_job
    from .everything_settings import EverythingSettings
    from .importing import import_head
    from .instance_settings import InstanceSettings
    from .instances import segment_instances, segment_instances_job, tell_apart_job
    from .loading import load_model, load_model_job
    from .masks import full_masks, image_logits, local_mask, mask_to_logits
    from .model import Model
    from .prompt import PromptDecoder
    from .settling import Instance


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
