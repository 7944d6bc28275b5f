"""Has napari draw of a layer only the box that holds something.

Without a graphics card an empty label layer costs as much of each frame as the image. The layer stays as it is, its
eye too. napari has no public way to do so; without the private one, and in three dimensions, all of it is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer
from vispy.visuals import ImageVisual

from .napari_canvas import node_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Layer
    from napari.viewer import Viewer

    from ....annotations import Box

FIRST_MS = 1000
"""So long all of a new layer is drawn, so that the first thing it shows waits for no shader."""

TRIANGLES = (0, 1), (2, 1), (2, 3), (0, 1), (2, 3), (0, 3)
"""The corners of two triangles that make a box; indices into its (left, top, right, bottom)."""


class CroppedVisual:
    """Keeps what is drawn of a layer at the box that holds something.

    Args:
        viewer: The viewer.
        layer: The layer.
        filled: Returns a box (r0, c0, r1, c1) of pixels outside of which nothing is shown; None if nothing
            is shown at all.
    """

    def __init__(self, viewer: Viewer, layer: Layer, filled: Callable[[], Box | None]) -> None:
        self._viewer = viewer
        self._layer = layer
        self._filled = filled
        events = layer.events
        names = ("visible", "set_data", "labels_update", "mode")
        self._emitters = [getattr(events, name) for name in names if hasattr(events, name)]
        for emitter in self._emitters:
            # After napari's own, which draws whatever is visible.
            emitter.connect(self.update, position="last")
        self._first = QTimer()
        self._first.setSingleShot(True)
        self._first.timeout.connect(self.update)
        self._first.start(FIRST_MS)

    def update(self, _event: object = None) -> None:
        """Draw what there is now."""
        node = node_of(self._viewer, self._layer)
        if node is None or self._first.isActive():
            return
        box = self._filled()
        node.visible = self._layer.visible and box is not None
        if box is not None and isinstance(node, ImageVisual):
            width, height = node.size
            left, right = np.clip((box[1], box[3]), 0, width)
            top, bottom = np.clip((box[0], box[2]), 0, height)
            corners = np.array([left, top, right, bottom], np.float32)[np.array(TRIANGLES)]
            # Made by vispy for all of the image whenever its size changes.
            node._subdiv_position.set_data(corners)
            node._subdiv_texcoord.set_data(corners / np.array([width, height], np.float32))

    def close(self) -> None:
        """Leave it to napari again."""
        self._first.stop()
        for emitter in self._emitters:
            emitter.disconnect(self.update)
        node = node_of(self._viewer, self._layer)
        if node is not None:
            node.visible = self._layer.visible
        if isinstance(node, ImageVisual):
            node._need_vertex_update = True
