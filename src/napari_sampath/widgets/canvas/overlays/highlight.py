"""A layer with frames around selected objects and the line of the current cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Shapes
from napari.viewer import Viewer

from ....annotations import Box
from .. import layers as session_layers
from ..viewport import camera

NAME = "Selection"
COLOR = "#ff00c8"
CANVAS_PX = 2.5
"""Line width on the canvas."""
MARGIN_PX = 2
"""Distance of a frame from its object, in image pixels."""
MAX_FRAMES = 200
"""Maximum number of frames; more frames would be slow to draw and hide the image."""


class Highlight:
    """Draws frames and a line over an image layer; their layer is created when it is first needed.

    Args:
        viewer: The viewer.
        image: The image layer.
    """

    def __init__(self, viewer: Viewer, image: Image) -> None:
        self._viewer = viewer
        self._image = image
        self._layer: Shapes | None = None
        camera(viewer).events.zoom.connect(self._on_zoom)

    def close(self) -> None:
        """Remove the layer."""
        camera(self._viewer).events.zoom.disconnect(self._on_zoom)
        if self._layer is not None:
            session_layers.remove(self._viewer, [self._layer])

    @property
    def frames(self) -> int:
        """Number of frames and lines that are shown."""
        return 0 if self._layer is None else int(self._layer.nshapes)

    def show(
        self,
        boxes: Sequence[Box],
        line_xy: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ) -> None:
        """Replace the frames and the line.

        Args:
            boxes: Boxes (r0, c0, r1, c1) to draw frames around.
            line_xy: End points (x, y) of the line; None for no line.
        """
        if not boxes and line_xy is None and self._layer is None:
            return
        layer = self._shapes()
        layer.selected_data = set()
        if layer.nshapes:
            layer.data = []
        width = self._width()
        if boxes:
            layer.add_rectangles([_corners(box) for box in boxes[:MAX_FRAMES]], edge_width=width)
        if line_xy is not None:
            (x0, y0), (x1, y1) = line_xy
            layer.add_lines([np.array([[y0, x0], [y1, x1]])], edge_width=width)

    def clear(self) -> None:
        """Remove all frames and the line."""
        if self._layer is not None and self._layer not in self._viewer.layers:
            # The layer was removed with its image; `show` would add it again.
            self._layer = None
        if self.frames:
            self.show(())

    def _shapes(self) -> Shapes:
        if self._layer is None or self._layer not in self._viewer.layers:
            selection = self._viewer.layers.selection
            active = selection.active
            self._layer = self._viewer.add_shapes(
                None,
                ndim=2,
                name=NAME,
                face_color="transparent",
                edge_color=COLOR,
                metadata={session_layers.MARK: self._image.name, session_layers.MARK_HELPER: True},
                **session_layers.placement(self._image),
            )
            self._layer.editable = False
            selection.active = active  # Keep the user's active layer.
        return self._layer

    def _width(self) -> float:
        return CANVAS_PX / (float(camera(self._viewer).zoom) * float(self._image.scale[-1]))

    def _on_zoom(self, _event: Any = None) -> None:
        if self._layer is not None and self.frames:
            self._layer.edge_width = self._width()


def _corners(box: Box) -> np.ndarray:
    # Pixel edges are half a pixel away from pixel centres.
    top, left = box[0] - MARGIN_PX - 0.5, box[1] - MARGIN_PX - 0.5
    bottom, right = box[2] + MARGIN_PX - 0.5, box[3] + MARGIN_PX - 0.5
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
