"""Show an image instead of a layer whose colours, orientation or axes napari displays differently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from napari.layers import Image
from napari.viewer import Viewer

from ...arrays import UInt8Array

_SHOWN_FOR = "napari-sampath-shown-for"
"""Metadata key of an added layer; the value identifies the hidden layer."""
ORIENTATION = "napari-sampath-orientation"
"""Metadata key of a layer whose image was turned; the value is `LoadedImage.orientation`."""


SOURCE_FILE = "sampath_file"
"""Metadata key of layers that napari did not open from a file; the value is the path of the file."""


def source_file(layer: Any) -> Path | None:
    """Return the file from which an image layer was read; None if it has none, for example a sample."""
    path = layer.metadata.get(SOURCE_FILE) or (None if layer.source.sample else layer.source.path)
    file = Path(path) if path else None
    return file if file is not None and file.exists() else None


def shown_for(viewer: Viewer, layer: Image) -> Image:
    """Return the layer that was added for a layer by `show_instead`; the layer itself if there is none."""
    for other in viewer.layers:
        if isinstance(other, Image) and other.metadata.get(_SHOWN_FOR) == layer.unique_id:
            return other
    return layer


def show_instead(viewer: Viewer, layer: Image, pixels: UInt8Array) -> Image:
    """Add an RGB layer with the position, scale and name of a layer, and hide that layer.

    Args:
        viewer: The viewer.
        layer: The layer, whose colours, orientation or axes differ from those of the image.
        pixels: (H, W, 3) uint8 RGB, the image.

    Returns:
        The new layer, which is selected.
    """
    place = {"scale": layer.scale[-2:], "translate": layer.translate[-2:], "units": layer.units[-2:]}
    layer.visible = False
    metadata = {_SHOWN_FOR: layer.unique_id}
    file = source_file(layer)
    if file is not None:
        metadata[SOURCE_FILE] = str(file)
    image = Image(pixels, name=f"{layer.name} (RGB)", rgb=True, metadata=metadata, **place)
    viewer.layers.insert(viewer.layers.index(layer) + 1, image)
    viewer.layers.selection.active = image
    return image
