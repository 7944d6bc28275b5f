"""Features and prompts to masks, heads over tiles.

The names are loaded on first use: masks are enlarged without torch, which takes seconds to import.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PLACES = {
    "Segmentation": "segment",
    "segment": "segment",
    "segment_job": "segment",
    "EverythingMask": "everything.everything",
    "segment_everything": "everything.everything",
    "segment_everything_job": "everything.everything",
    "EverythingSettings": "everything.settings",
    "import_head": "importing",
    "InstanceSettings": "instances.settings",
    "segment_instances": "instances.instances",
    "segment_instances_job": "instances.instances",
    "tell_apart_job": "instances.instances",
    "load_model": "loading",
    "load_model_job": "loading",
    "full_masks": "decoder.mask_upscaling",
    "image_logits": "decoder.mask_upscaling",
    "local_mask": "decoder.mask_upscaling",
    "mask_to_logits": "decoder.mask_upscaling",
    "Model": "model",
    "PromptDecoder": "decoder.prompt_decoder",
    "Instance": "instances.resolve_outlines",
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
    from .decoder.mask_upscaling import full_masks, image_logits, local_mask, mask_to_logits
    from .decoder.prompt_decoder import PromptDecoder
    from .everything.everything import EverythingMask, segment_everything, segment_everything_job
    from .everything.settings import EverythingSettings
    from .importing import import_head
    from .instances.instances import segment_instances, segment_instances_job, tell_apart_job
    from .instances.resolve_outlines import Instance
    from .instances.settings import InstanceSettings
    from .loading import load_model, load_model_job
    from .model import Model
    from .segment import Segmentation, segment, segment_job


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
