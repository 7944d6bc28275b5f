"""Sample data for napari's File menu."""

from __future__ import annotations

from typing import Any

from skimage.data import immunohistochemistry

LayerData = tuple[Any, dict[str, Any], str]


def tissue() -> list[LayerData]:
    """Return scikit-image's example of colon tissue with DAB immunohistochemistry, (512, 512, 3) uint8."""
    return [(immunohistochemistry(), {"name": "Immunohistochemistry (DAB)", "rgb": True}, "image")]
