"""Find objects in label layers outside the session, such as the user's layers and the results of heads."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels
from napari.viewer import Viewer
from scipy.ndimage import label

from ...arrays import FloatArray, IntArray, LocalMask
from ...images.slides.view_cache import LevelView
from .layers import MARK

FIRST_PX = 256
"""Distance from the click to the sides of the first search window."""


def object_under(viewer: Viewer, image: Image, x: float, y: float, hw: tuple[int, int]) -> LocalMask | None:
    """Return the object at (x, y) in the topmost visible label layer that has an object there.

    Args:
        viewer: The viewer.
        image: The image layer; the label layer may have another transform.
        x: Column in image pixels.
        y: Row in image pixels.
        hw: Size (H, W) of the image in pixels.

    Returns:
        The connected component with the label value at that position, in image pixels; None if no layer has an object
        there.
    """
    for layer in reversed(viewer.layers):
        if not isinstance(layer, Labels) or not layer.visible or MARK in layer.metadata or layer.ndim != 2:
            continue
        data = layer.data[0] if layer.multiscale else layer.data
        if isinstance(data, LevelView):  # A component of it may be as large as the slide.
            continue
        to_layer = transform_to(image, layer)
        row, col = (int(value) for value in np.round(to_layer @ (y, x, 1.0)))
        height, width = data.shape
        if 0 <= row < height and 0 <= col < width and data[row, col]:
            mask = _to_image(component_at(data, row, col), to_layer, hw)
            if mask.bitmap.any():
                return mask
    return None


def component_at(labels: IntArray, row: int, col: int) -> LocalMask:
    """Return the connected component (by edges) with the value of a pixel; the cost depends on its size only."""
    reach = FIRST_PX
    height, width = labels.shape
    while True:
        r0, c0 = max(0, row - reach), max(0, col - reach)
        r1, c1 = min(height, row + reach + 1), min(width, col + reach + 1)
        window = np.asarray(labels[r0:r1, c0:c1])
        components, _ = label(window == window[row - r0, col - c0])
        component = components == components[row - r0, col - c0]
        rows, cols = np.nonzero(component)
        top, left, bottom, right = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
        clipped = (
            (top == 0 and r0 > 0)
            or (left == 0 and c0 > 0)
            or (bottom == r1 - r0 and r1 < height)
            or (right == c1 - c0 and c1 < width)
        )
        if not clipped:
            return LocalMask(int(r0 + top), int(c0 + left), component[top:bottom, left:right])
        reach *= 4


def transform_to(image: Image, layer: Labels) -> FloatArray:
    """Return the (2, 3) matrix from (row, col, 1) of an image layer to (row, col) of a label layer."""
    origin, down, right = (
        np.asarray(layer.world_to_data(image.data_to_world(point)[-2:])[-2:], dtype=np.float64)
        for point in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    return np.stack([down - origin, right - origin, origin], axis=1)


def _to_image(mask: LocalMask, to_layer: FloatArray, hw: tuple[int, int]) -> LocalMask:
    """Resample a mask from layer pixels to image pixels, clipped to the image."""
    # Bounding box in image pixels.
    height, width = mask.bitmap.shape
    corners = np.array([(r, c) for r in (0, height) for c in (0, width)])
    corners = corners + np.array((mask.row - 0.5, mask.col - 0.5))
    in_image = np.linalg.solve(to_layer[:, :2], (corners - to_layer[:, 2]).T).T
    low, high = np.floor(in_image.min(axis=0)), np.ceil(in_image.max(axis=0)) + 1
    (r0, c0), (r1, c1) = (np.clip(edge, 0, hw).astype(int).tolist() for edge in (low, high))
    # Nearest layer pixel of each image pixel.
    rows, cols = np.mgrid[r0:r1, c0:c1]
    places = np.einsum("ij,jrc->irc", to_layer, np.stack([rows, cols, np.ones_like(rows)]))
    row, col = np.round(places).astype(int) - np.array([mask.row, mask.col])[:, None, None]
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    bitmap = np.zeros(rows.shape, dtype=np.bool_)
    bitmap[inside] = mask.bitmap[row[inside], col[inside]]
    return LocalMask(r0, c0, bitmap)
