"""The file of an image layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

KEY = "sampath_file"
"""Key in the metadata of layers of which napari does not know the file."""


def source_file(layer: Any) -> Path | None:
    """Return the file from which an image layer was read; None if it has none, for example a sample."""
    path = layer.metadata.get(KEY) or (None if layer.source.sample else layer.source.path)
    if not path:
        return None
    file = Path(path)
    return file if file.exists() else None
