"""Restrict the drawing of a layer to the bounding box of its non-empty pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from napari.layers import Layer
from napari.viewer import Viewer
from qtpy.QtCore import QTimer
from vispy.visuals import ImageVisual

from ....annotations import Box
from .napari_canvas import node_of

FIRST_MS = 1000
"""Time for which a new layer is drawn as a whole, so that its shaders are compiled before it has content."""

TRIANGLES = (0, 1), (2, 1), (2, 3), (0, 1), (2, 3), (0, 3)
"""Corners (x, y) of the two triangles of a box, as indices into (left, top, right, bottom)."""


class CroppedVisual:
    """Draws only the non-empty box of a layer; `Layer.visible` is not changed.

    Without a graphics card, an empty label layer takes as much time per frame as the image.

    Replaces: `Layer.visible` for empty layers; sets `node.visible` and the vertices `ImageVisual._subdiv_position` and
    `_subdiv_texcoord`, which vispy computes for the whole image when its size changes.
    Fallback: the whole layer is drawn, as in three dimensions.

    Args:
        viewer: The viewer.
        layer: The layer.
        filled: Returns a box (r0, c0, r1, c1) that contains all non-empty pixels; None if all pixels are empty.
    """

    def __init__(self, viewer: Viewer, layer: Layer, filled: Callable[[], Box | None]) -> None:
        self._viewer = viewer
        self._layer = layer
        self._filled = filled
        names = ("visible", "set_data", "labels_update", "mode")
        self._emitters = [getattr(layer.events, name) for name in names if hasattr(layer.events, name)]
        for emitter in self._emitters:
            # Run after napari's own callback, which shows every visible layer.
            emitter.connect(self.update, position="last")
        self._first = QTimer()
        self._first.setSingleShot(True)
        self._first.timeout.connect(self.update)
        self._first.start(FIRST_MS)

    def update(self, _event: object = None) -> None:
        """Crop to the current content."""
        node = node_of(self._viewer, self._layer)
        if node is None or self._first.isActive():
            return
        box = self._filled()
        node.visible = self._layer.visible and box is not None
        if box is not None and isinstance(node, ImageVisual) and hasattr(node, "_subdiv_position"):
            width, height = node.size
            left, right = np.clip((box[1], box[3]), 0, width)
            top, bottom = np.clip((box[0], box[2]), 0, height)
            corners = np.array([left, top, right, bottom], np.float32)[np.array(TRIANGLES)]
            node._subdiv_position.set_data(corners)
            node._subdiv_texcoord.set_data(corners / np.array([width, height], np.float32))

    def close(self) -> None:
        """Draw the whole layer again."""
        self._first.stop()
        for emitter in self._emitters:
            emitter.disconnect(self.update)
        node = node_of(self._viewer, self._layer)
        if node is not None:
            node.visible = self._layer.visible
        if isinstance(node, ImageVisual):
            node._need_vertex_update = True
