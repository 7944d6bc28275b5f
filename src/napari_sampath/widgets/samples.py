"""Sample data for napari's File menu."""

from __future__ import annotations

from typing import Any

from skimage.data import immunohistochemistry

LayerData = tuple[Any, dict[str, Any], str]


def tissue() -> list[LayerData]:
    """Return colon tissue, (512, 512, 3) uint8, that ships inside scikit-image (DAB stain)."""
    return [(immunohistochemistry(), {"name": "H&E-like tissue", "rgb": True}, "image")]
