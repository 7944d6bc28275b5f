"""Draw lines directly into napari's scene: without a layer, and at a cost independent of the image size."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Layer
from napari.viewer import Viewer
from vispy.scene.visuals import Line

from ....arrays import FloatArray, LocalMask
from ..napari_internals.napari_canvas import node_of

HALO = (0.05, 0.05, 0.2, 0.9)
"""Colour of a wider line below, which makes the line visible on any tissue."""
HALO_CANVAS_PX, LINE_CANVAS_PX = 4, 2


class SceneLine:
    """A coloured line in the pixel coordinates of a layer, drawn directly above that layer.

    Without napari's private scene node (see `node_of`) the line is not drawn.

    Args:
        viewer: The viewer.
        layer: The layer; the line has the same transform and visibility.
        color: Red, green, blue, alpha, each 0..1.
    """

    def __init__(self, viewer: Viewer, layer: Layer, color: tuple[float, float, float, float]) -> None:
        self.points_xy: FloatArray | None = None
        """The points of the last `show`; None if the line is hidden."""
        self._lines: list[Any] = []
        parent = node_of(viewer, layer)
        if parent is None:
            return
        for order, (rgba, width) in enumerate(((HALO, HALO_CANVAS_PX), (color, LINE_CANVAS_PX))):
            line = Line(np.zeros((2, 2), np.float32), color=rgba, width=width, method="gl", parent=parent)
            line.set_gl_state("translucent", depth_test=False)
            line.order = order
            line.visible = False
            self._lines.append(line)

    def show(self, points_xy: FloatArray, segments: bool = False) -> None:
        """Draw a line through (N, 2) points (x, y) in pixels; with `segments`, one segment per pair of points."""
        self.points_xy = points_xy
        for line in self._lines:
            line.set_data(points_xy.astype(np.float32), connect="segments" if segments else "strip")
            line.visible = True

    def hide(self) -> None:
        """Hide the line."""
        if self.points_xy is not None:
            self.points_xy = None
            for line in self._lines:
                line.visible = False

    def close(self) -> None:
        """Remove the line from the scene."""
        for line in self._lines:
            line.parent = None
        self._lines.clear()


def outline_segments(mask: LocalMask) -> FloatArray:
    """Return the border of a mask along the edges of its pixels.

    Args:
        mask: The mask, in image pixels.

    Returns:
        (2 N, 2) ends (x, y) of N segments; the centre of pixel (row i, column j) is at (j, i).
    """
    padded = np.pad(mask.bitmap, 1)
    # Horizontal edges: pixels that differ from the pixel below.
    rows, cols = np.nonzero(padded[1:, :] != padded[:-1, :])
    horizontal = np.stack([np.stack([cols, rows + 1], -1), np.stack([cols + 1, rows + 1], -1)], 1)
    # Vertical edges: pixels that differ from the pixel on the right.
    rows, cols = np.nonzero(padded[:, 1:] != padded[:, :-1])
    vertical = np.stack([np.stack([cols + 1, rows], -1), np.stack([cols + 1, rows + 1], -1)], 1)
    # Undo the padding, and move from pixel corners to pixel centres.
    corners = np.concatenate([horizontal, vertical]).reshape(-1, 2)
    placed: FloatArray = corners + np.array([mask.col - 1.5, mask.row - 1.5])
    return placed
