"""Labels and Shapes layers that do not belong to a session, converted to objects."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from napari.viewer import Viewer

from ...errors import ImageError
from ..canvas.layers import MARK, MARK_HEAD, MARK_HELPER
from ..canvas.other_labels import transform_to

if TYPE_CHECKING:
    from ...arrays import ClassInfo, FloatArray
    from ...session import NewObjects
    from ...session.proposals.adopting import ValuesAre

_ELLIPSE_CORNERS = 72
"""Number of corners of the polygon that replaces an ellipse; its area is 0.13 % too small."""


def foreign_layers(viewer: Viewer) -> list[Layer]:
    """List the Labels and Shapes layers of the user and of other plugins, top layers first."""
    marks = {MARK, MARK_HEAD, MARK_HELPER}
    return [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Labels | Shapes) and not marks & layer.metadata.keys()
    ]


def objects_of_layer(
    layer: Labels | Shapes, image: Image, hw: tuple[int, int], info: ClassInfo, values: ValuesAre = "auto"
) -> NewObjects:
    """Convert the content of a layer to new objects of one class; transforms of both layers are applied.

    Args:
        layer: The layer.
        image: The image layer of the session.
        hw: Size (H, W) of the image.
        info: The class.
        values: What the values of a Labels layer are.

    Raises:
        ImageError: If the layer has other than two dimensions, or no object in the image.
    """
    from ...session.proposals.adopting import from_label_map, from_outlines

    name = f"The layer '{layer.name}'"
    if isinstance(layer, Labels):
        data = layer.data[0] if layer.multiscale else layer.data
        if len(data.shape) != 2:
            raise ImageError(
                f"{name} has {len(data.shape)} dimensions, but the image has 2; split it into planes (right-click, "
                "Split Stack)."
            )
        return from_label_map(np.asarray(data), hw, info, name, transform_to(image, layer), values)
    if layer.ndim != 2:
        raise ImageError(
            f"{name} has {layer.ndim} dimensions, but the image has 2; draw its shapes on the image."
        )
    skipped = Counter[str]()
    outlines = []
    to_image = _from_layer(image, layer)
    z_index = np.asarray(layer.z_index)
    for index in np.argsort(z_index, kind="stable").tolist():
        kind = layer.shape_type[index]
        corners: FloatArray = np.asarray(layer.data[index], dtype=np.float64)
        if kind in ("line", "path"):
            skipped[f"{kind}s without an area"] += 1
            continue
        if kind == "ellipse":
            corners = _ellipse(corners)
        outlines.append(corners @ to_image[:, :2].T + to_image[:, 2])
    return from_outlines(outlines, hw, info, name, skipped)


def _from_layer(image: Image, layer: Layer) -> FloatArray:
    """Return the (2, 3) matrix from (row, col, 1) of a layer to (row, col) of an image layer."""
    origin, down, right = (
        np.asarray(image.world_to_data(layer.data_to_world(point))[-2:], dtype=np.float64)
        for point in ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
    )
    return np.stack([down - origin, right - origin, origin], axis=1)


def _ellipse(corners: Any) -> FloatArray:
    """Return the outline of an ellipse that is given by the four corners of its box, which may be rotated."""
    centre = corners.mean(axis=0)
    first, second = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angles = np.linspace(0, 2 * np.pi, _ELLIPSE_CORNERS, endpoint=False)
    outline: FloatArray = centre + np.outer(np.cos(angles), first) + np.outer(np.sin(angles), second)
    return outline
