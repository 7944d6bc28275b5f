"""Features and prompts to masks, heads over tiles."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .masks import full_masks, local_mask, mask_to_logits
from .model import Model, load_model, load_model_job
from .prompt import PromptDecoder

if TYPE_CHECKING:
    from .automatic import segment, segment_job

__all__ = [
    "Model",
    "PromptDecoder",
    "full_masks",
    "load_model",
    "load_model_job",
    "local_mask",
    "mask_to_logits",
    "segment",
    "segment_job",
]

_AUTOMATIC = ("segment", "segment_job")


def __getattr__(name: str) -> Any:
    # Heads are loaded by who segments with them, not by who only prompts.
    if name in _AUTOMATIC:
        return getattr(importlib.import_module(".automatic", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
