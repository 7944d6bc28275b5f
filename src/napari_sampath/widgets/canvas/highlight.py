"""A frame around objects that are chosen, and a line while one is drawn: the only layer that marks and never holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import layers as shown
from .viewport import camera

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Shapes
    from napari.viewer import Viewer

    from ...annotations import Box

NAME = "Chosen"
COLOR = "#ff00c8"
CANVAS_PX = 2.5
"""Width of frame and line on the canvas."""
MARGIN_PX = 2
"""Distance of the frame from the object, in image pixels."""
MOST = 200
"""More frames than this say nothing, and take napari long to draw."""


class Highlight:
    """Frames and a line over an image layer; the layer is made when there is something to show.

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
        """Take the layer away."""
        camera(self._viewer).events.zoom.disconnect(self._on_zoom)
        if self._layer is not None:
            shown.remove(self._viewer, [self._layer])

    @property
    def frames(self) -> int:
        """Number of frames and lines shown."""
        return 0 if self._layer is None else int(self._layer.nshapes)

    def show(
        self,
        boxes: Sequence[Box],
        line_xy: tuple[tuple[float, float], tuple[float, float]] | None = None,
    ) -> None:
        """Frame boxes (r0, c0, r1, c1) and draw a line between two points (x, y), in place of what was shown."""
        if not boxes and line_xy is None and self._layer is None:
            return
        layer = self._shapes()
        layer.selected_data = set()
        if layer.nshapes:
            layer.data = []
        width = self._width()
        if boxes:
            layer.add_rectangles([_corners(box) for box in boxes[:MOST]], edge_width=width)
        if line_xy is not None:
            (x0, y0), (x1, y1) = line_xy
            layer.add_lines([np.array([[y0, x0], [y1, x1]])], edge_width=width)

    def clear(self) -> None:
        """Show nothing."""
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
                metadata={shown.MARK: self._image.name},
                **shown.placement(self._image),
            )
            self._layer.editable = False
            # The layer in use is the user's business.
            selection.active = active
        return self._layer

    def _width(self) -> float:
        return CANVAS_PX / (float(camera(self._viewer).zoom) * float(self._image.scale[-1]))

    def _on_zoom(self, _event: Any = None) -> None:
        if self._layer is not None and self.frames:
            self._layer.edge_width = self._width()


def _corners(box: Box) -> np.ndarray:
    # A pixel's edges are half a pixel from its centre.
    top, left, bottom, right = (
        edge + side * MARGIN_PX - 0.5 for edge, side in zip(box, (-1, -1, 1, 1), strict=True)
    )
    return np.array([[top, left], [top, right], [bottom, right], [bottom, left]])
