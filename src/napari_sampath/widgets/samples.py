"""Sample data for napari's File menu."""

from __future__ import annotations

from typing import Any

from skimage.data import immunohistochemistry

LayerData = tuple[Any, dict[str, Any], str]


def tissue() -> list[LayerData]:
    """Return colon tissue with DAB immunohistochemistry, (512, 512, 3) uint8, that ships with scikit-image."""
    return [(immunohistochemistry(), {"name": "Immunohistochemistry (DAB)", "rgb": True}, "image")]
