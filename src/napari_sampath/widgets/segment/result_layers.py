"""Layers that show the result of a head, its classes and its confidence, on the image or a region of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import ClassInfo, FloatArray, UInt8Array
from ..canvas import layers as canvas_layers
from ..canvas.appearance import class_colors

if TYPE_CHECKING:
    from napari.layers import Image, Layer
    from napari.viewer import Viewer

CLASSES, CONFIDENCE = "Segmentation", "Confidence"
"""Names of the layers."""


class ResultLayers:
    """Shows one result per image; a newer result with the same shape and position reuses the layers."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer

    def show(
        self,
        image: Image,
        labels: UInt8Array,
        confidence: FloatArray,
        origin_rc: tuple[int, int],
        classes: Iterable[ClassInfo],
    ) -> None:
        """Show class ids and confidence 0..1, both (h, w), starting at the pixel `origin_rc` (row, col) of an image."""
        placement = canvas_layers.placement_at(image, origin_rc)
        layers = self._of(image)
        reusable = len(layers) == 2 and all(
            layer.data.shape == labels.shape and np.allclose(layer.translate, placement["translate"])
            for layer in layers
        )
        if reusable:
            layers[0].data, layers[1].data = labels, confidence
            layers[0].visible = True
        else:
            canvas_layers.remove(self._viewer, layers)
            layers = self._add(image, labels, confidence, placement)
        colormap = class_colors([info for info in classes if info.id > 0])
        canvas_layers.recolour(layers[0], colormap)
        self._viewer.layers.selection.active = image

    def repaint(self, image: Image, labels: UInt8Array) -> None:
        """Show other labels of the same result."""
        layers = self._of(image)
        if layers and layers[0].data.shape == labels.shape:
            layers[0].data = labels

    def hide(self, image: Image) -> None:
        """Hide the result without deleting it."""
        for layer in self._of(image):
            layer.visible = False

    def _of(self, image: Image) -> list[Any]:
        layers = [
            layer
            for layer in canvas_layers.results_on(self._viewer, image)
            if "part" in layer.metadata  # The overlay of another reader has none.
        ]
        return sorted(layers, key=lambda layer: layer.metadata["part"])

    def _add(
        self, image: Image, labels: UInt8Array, confidence: FloatArray, placement: dict[str, Any]
    ) -> list[Layer]:
        metadata = [{canvas_layers.MARK_HEAD: image.name, "part": part} for part in (0, 1)]
        first = self._viewer.add_labels(labels, name=CLASSES, opacity=0.45, metadata=metadata[0], **placement)
        first.editable = False
        second = self._viewer.add_image(
            confidence,
            name=CONFIDENCE,
            colormap="viridis",
            contrast_limits=(0.0, 1.0),
            opacity=0.6,
            visible=False,
            metadata=metadata[1],
            **placement,
        )
        if hasattr(second, "colorbar"):  # napari 0.9 has a legend for the values of an image.
            second.colorbar.visible = True
        return [first, second]
