"""Objects in label layers that are not the session's: the user's own, and what a head found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from scipy.ndimage import label

from ...arrays import LocalMask
from .layers import MARK

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ...arrays import FloatArray, IntArray

FIRST_PX = 256
"""So far around a click an object is looked for at first."""


def object_under(viewer: Viewer, image: Image, x: float, y: float, hw: tuple[int, int]) -> LocalMask | None:
    """Return the object under (x, y) in the topmost label layer that is shown and has one there.

    Args:
        viewer: The viewer.
        image: The image layer; the label layer may have another scale and place.
        x: Column in image pixels.
        y: Row in image pixels.
        hw: Size (H, W) of the image in pixels.

    Returns:
        What hangs together there and has one value, in image pixels; None if no layer has an object there.
    """
    for layer in reversed(viewer.layers):
        if not isinstance(layer, Labels) or not layer.visible or MARK in layer.metadata or layer.ndim != 2:
            continue
        to_layer = _between(image, layer)
        row, col = (int(one) for one in np.round(to_layer @ (y, x, 1.0)))
        height, width = layer.data.shape
        if 0 <= row < height and 0 <= col < width and layer.data[row, col]:
            found = connected(layer.data, row, col)
            mask = _placed(found, to_layer, hw)
            if mask.bitmap.any():
                return mask
    return None


def connected(labels: IntArray, row: int, col: int) -> LocalMask:
    """Return the pixels that have the value of one pixel and hang together with it (by edges), at their own cost."""
    reach = FIRST_PX
    height, width = labels.shape
    while True:
        r0, c0 = max(0, row - reach), max(0, col - reach)
        r1, c1 = min(height, row + reach + 1), min(width, col + reach + 1)
        window = np.asarray(labels[r0:r1, c0:c1])
        pieces, _ = label(window == window[row - r0, col - c0])
        rows, cols = np.nonzero(pieces == pieces[row - r0, col - c0])
        top, left, bottom, right = rows.min(), cols.min(), rows.max() + 1, cols.max() + 1
        cut_off = (
            (top == 0 and r0 > 0)
            or (left == 0 and c0 > 0)
            or (bottom == r1 - r0 and r1 < height)
            or (right == c1 - c0 and c1 < width)
        )
        if not cut_off:
            piece = pieces[top:bottom, left:right] == pieces[row - r0, col - c0]
            return LocalMask(int(r0 + top), int(c0 + left), piece)
        reach *= 4


def _between(image: Image, layer: Labels) -> FloatArray:
    """Return the (2, 3) matrix that takes (row, col, 1) of an image layer to (row, col) of a label layer."""
    origin, down, right = (
        np.asarray(layer.world_to_data(image.data_to_world(point)[-2:])[-2:], dtype=np.float64)
        for point in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    return np.stack([down - origin, right - origin, origin], axis=1)


def _placed(found: LocalMask, to_layer: FloatArray, hw: tuple[int, int]) -> LocalMask:
    """Return a mask of a layer's pixels as one of image pixels, cut at the image's edge."""
    height, width = found.bitmap.shape
    corners = np.array([(r, c) for r in (0, height) for c in (0, width)])
    corners = corners + np.array((found.row - 0.5, found.col - 0.5))
    there = np.linalg.solve(to_layer[:, :2], (corners - to_layer[:, 2]).T).T
    r0, c0 = (int(np.clip(low, 0, side)) for low, side in zip(np.floor(there.min(axis=0)), hw, strict=True))
    r1, c1 = (
        int(np.clip(top, 0, side)) for top, side in zip(np.ceil(there.max(axis=0)) + 1, hw, strict=True)
    )
    rows, cols = np.mgrid[r0:r1, c0:c1]
    places = np.einsum("ij,jrc->irc", to_layer, np.stack([rows, cols, np.ones_like(rows)]))
    row, col = np.round(places).astype(int) - np.array([found.row, found.col])[:, None, None]
    inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
    bitmap = np.zeros(rows.shape, dtype=np.bool_)
    bitmap[inside] = found.bitmap[row[inside], col[inside]]
    return LocalMask(r0, c0, bitmap)
