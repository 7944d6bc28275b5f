"""Show an image in place of a layer that napari displays in another way."""

from __future__ import annotations

from napari.layers import Image
from napari.viewer import Viewer

from ...arrays import UInt8Array
from .source_file import KEY, source_file

_SHOWN_FOR = "napari-sampath-shown-for"
"""Metadata key of an added layer; the value identifies the hidden layer."""
ORIENTATION = "napari-sampath-orientation"
"""Metadata key of a layer whose image was turned; the value is `LoadedImage.orientation`."""


def shown_for(viewer: Viewer, layer: Image) -> Image:
    """Return the layer that was added for a layer by `show_instead`; the layer itself if there is none."""
    for other in viewer.layers:
        if isinstance(other, Image) and other.metadata.get(_SHOWN_FOR) == layer.unique_id:
            return other
    return layer


def show_instead(viewer: Viewer, layer: Image, pixels: UInt8Array) -> Image:
    """Add an RGB layer with the place, scale and name of a layer, and hide that layer.

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
        metadata[KEY] = str(file)
    image = Image(pixels, name=f"{layer.name} (RGB)", rgb=True, metadata=metadata, **place)
    viewer.layers.insert(viewer.layers.index(layer) + 1, image)
    viewer.layers.selection.active = image
    return image
