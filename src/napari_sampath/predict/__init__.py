"""Features and prompts to masks, heads over tiles."""

from .automatic import Segmentation, segment, segment_job
from .everything import EverythingMask, segment_everything, segment_everything_job
from .everything_settings import EverythingSettings
from .importing import import_head
from .loading import load_model, load_model_job
from .masks import full_masks, image_logits, local_mask, mask_to_logits
from .model import Model
from .prompt import PromptDecoder

__all__ = [
    "EverythingMask",
    "EverythingSettings",
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
    "segment_job",
]
