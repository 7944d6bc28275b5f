"""Which part of an image is in view, and how to look at another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ...annotations import Box

SHARE = 0.6
"""Share of the window's shorter side that a region fills which is looked at."""


def box_in_view(viewer: Viewer, image: Image, hw: tuple[int, int]) -> Box:
    """Return the box (r0, c0, r1, c1) of the image pixels that are on the canvas, cut at the image's edge."""
    size = _canvas_size(viewer)
    half = np.array(size, dtype=np.float64) / (2 * float(camera(viewer).zoom))
    centre = np.array(camera(viewer).center[-2:], dtype=np.float64)
    corners = []
    for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        world = np.zeros(len(viewer.dims.point))
        world[-2:] = centre + np.array(sign) * half
        corners.append(image.world_to_data(world)[-2:])
    low, high = np.min(corners, axis=0), np.max(corners, axis=0)
    r0, c0 = (int(np.clip(np.floor(value), 0, side)) for value, side in zip(low, hw, strict=True))
    r1, c1 = (int(np.clip(np.ceil(value) + 1, 0, side)) for value, side in zip(high, hw, strict=True))
    return r0, c0, r1, c1


def look_at(viewer: Viewer, image: Image, box: Box) -> None:
    """Move the camera to a box of an image, so that it fills a good part of the canvas."""
    r0, c0, r1, c1 = box
    corners = np.array([image.data_to_world(point)[-2:] for point in ((r0, c0), (r1, c1))])
    extent = np.abs(corners[1] - corners[0])
    camera(viewer).center = tuple(corners.mean(axis=0))
    zoom = SHARE * min(_canvas_size(viewer)) / max(float(extent.max()), 1e-9)
    camera(viewer).zoom = zoom


def _canvas_size(viewer: Viewer) -> tuple[int, int]:
    """Return the size (height, width) of the canvas in its own pixels."""
    window: Any = viewer.window
    height, width = window._qt_viewer.canvas.size
    return int(height), int(width)


def camera(viewer: Viewer) -> Any:
    """Return the viewer's camera, which moved in napari 0.9."""
    return getattr(viewer, "scene", viewer).camera


def centre_of_view(viewer: Viewer, image: Image) -> tuple[float, float]:
    """Return (row, col) of the image pixel in the middle of the canvas."""
    world = np.zeros(len(viewer.dims.point))
    world[-2:] = camera(viewer).center[-2:]
    row, col = image.world_to_data(world)[-2:]
    return float(row), float(col)
