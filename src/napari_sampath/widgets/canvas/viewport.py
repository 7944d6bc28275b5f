"""Find the region of an image that is in view, and move the camera to another region."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer

from ...annotations import Box
from .napari_internals.napari_canvas import canvas_size

FILL = 0.6
"""Fraction of the shorter side of the canvas that a region fills after `look_at`."""


def box_in_view(viewer: Viewer, image: Image, hw: tuple[int, int]) -> Box:
    """Return the box (r0, c0, r1, c1) in view, in image pixels, clipped to the image size `hw`."""
    size = canvas_size(viewer)
    if size is None:
        return 0, 0, *hw
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
    """Centre the camera on a box (r0, c0, r1, c1) of an image and zoom so that it fills `FILL` of the canvas."""
    r0, c0, r1, c1 = box
    corners = np.array([image.data_to_world(point)[-2:] for point in ((r0, c0), (r1, c1))])
    extent = float(np.abs(corners[1] - corners[0]).max())
    camera(viewer).center = tuple(corners.mean(axis=0))
    size = canvas_size(viewer)
    if size is not None:
        camera(viewer).zoom = FILL * min(size) / max(extent, 1e-9)


def camera(viewer: Viewer) -> Any:
    """Return the camera of a viewer, which napari 0.9 moved to `viewer.scene`."""
    return getattr(viewer, "scene", viewer).camera


def centre_of_view(viewer: Viewer, image: Image) -> tuple[float, float]:
    """Return the position (row, col) at the centre of the canvas, in image pixels."""
    world = np.zeros(len(viewer.dims.point))
    world[-2:] = camera(viewer).center[-2:]
    row, col = image.world_to_data(world)[-2:]
    return float(row), float(col)
