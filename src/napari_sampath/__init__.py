"""napari-sampath: annotate pathology images with SAM prompts and trained heads.

The public names are loaded on first use, so that importing the package costs neither torch nor Qt.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_PUBLIC = {
    "import_head": "predict",
    "list_encoders": "encoders",
    "list_heads": "heads",
    "load_head": "heads",
    "load_model": "predict",
    "segment": "predict",
    "segment_everything": "predict",
    "segment_instances": "predict",
    "train": "training",
    "evaluate": "training",
}

__all__ = [
    "__version__",
    "evaluate",
    "import_head",
    "list_encoders",
    "list_heads",
    "load_head",
    "load_model",
    "segment",
    "segment_everything",
    "segment_instances",
    "train",
]

if TYPE_CHECKING:
    from .encoders import list_encoders
    from .heads import list_heads, load_head
    from .predict import import_head, load_model, segment, segment_everything, segment_instances
    from .training import train
    from .training.evaluation.evaluate import evaluate


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
