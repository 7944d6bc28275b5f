"""The napari layers that show a session; only changed boxes are rewritten."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels, Layer, Points, Shapes
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.colormaps.standardize_color import transform_color
from napari.viewer import Viewer

from ...annotations import Box, bounds, union
from ...arrays import FloatArray, IntArray, LocalMask
from ...geometry import xy_to_rc
from ..background.native_libraries import one_numba_thread
from .appearance import FILL, MASK
from .napari_internals.label_tools import forget_strokes
from .napari_internals.napari_canvas import hide_text, make_context_current
from .napari_internals.partial_refresh import ObjectLabels, one_refresh, one_slicing, repaint
from .windows.label_window import LabelWindow

MARK = "napari-sampath"
"""Metadata key of the layers that belong to a session; the value is the name of the image layer."""

MARK_HEAD = "napari-sampath-head"
"""Metadata key of the layers that show the result of a head."""

MARK_HELPER = "napari-sampath-helper"
"""Metadata key of the layers that the user does not need in napari's layer list."""

_WAS_VISIBLE = "napari-sampath-was-visible"
"""Metadata key of the results that are hidden with their image; the value is whether they were visible."""

POSITIVE_COLOR, NEGATIVE_COLOR, BOX_COLOR = "#19d24b", "#ff2d2d", "#ffd400"
POINT_CANVAS_PX, BOX_CANVAS_PX = 13, 2


@dataclass(frozen=True, slots=True, eq=False)
class SessionLayers:
    """The layers of one session; those of labels hold a window of the image (see `LabelWindow`)."""

    classes: Labels
    """(h, w) uint8 class ids; the brush paints here."""
    objects: Labels
    """(h, w) int32 instance ids, drawn as outlines; not editable."""
    candidate: Labels
    """(h, w) uint8, `MASK` and `SCRIBBLE`; not editable."""
    prompts: Points
    """The points of the prompt: green positive, red negative."""
    box: Shapes
    """The boxes of the prompt."""

    def all(self) -> tuple[Layer, ...]:
        """List the layers from bottom to top."""
        return self.classes, self.objects, self.candidate, self.box, self.prompts

    def labels(self) -> tuple[Labels, Labels, Labels]:
        """List the layers that hold a window of the image."""
        return self.classes, self.objects, self.candidate

    def helpers(self) -> tuple[Layer, ...]:
        """List the layers that are removed when prompting ends."""
        return self.candidate, self.box, self.prompts


def add_layers(
    viewer: Viewer,
    image: Image,
    window: LabelWindow,
    filled: Callable[[], Iterable[Box]],
    outline: Callable[[IntArray, IntArray, IntArray], IntArray],
) -> SessionLayers:
    """Add the layers of a session over an image layer, and remove the layers of earlier sessions of that image.

    Args:
        viewer: The viewer; the image layer is its active layer afterwards.
        image: The image layer.
        window: The part of the image that the label layers hold.
        filled: Returns boxes (r0, c0, r1, c1) in window pixels that together contain all objects.
        outline: See `ObjectLabels`.
    """
    remove(viewer, [layer for layer in viewer.layers if layer.metadata.get(MARK) == image.name])
    place, small = window_placement(image, window), np.zeros(window.shape, dtype=np.uint8)
    common = {**place, "metadata": {MARK: image.name}}
    mark = {"metadata": {MARK: image.name, MARK_HELPER: True}}
    helper = {**placement(image), **mark}
    selection = viewer.layers.selection
    selection.active = image
    # Each added layer becomes active for a moment; updating the lists and buttons takes a quarter of the total time.
    with selection.events.blocker_all(), one_numba_thread():
        classes = viewer.add_labels(small, name="Classes", opacity=FILL, **common)
        objects = ObjectLabels(
            np.zeros(window.shape, dtype=np.int32),
            filled=filled,
            outline=outline,
            name="Objects",
            opacity=1.0,
            **common,
        )
        viewer.add_layer(objects)
        candidate = viewer.add_labels(small.copy(), name="Candidate", opacity=0.6, **place, **mark)
        box = viewer.add_shapes(
            None, ndim=2, name="Box", face_color="transparent", edge_color=BOX_COLOR, edge_width=2, **helper
        )
        prompts = viewer.add_points(
            None,
            ndim=2,
            name="Prompts",
            border_width=0.15,
            border_color="white",
            face_color=POSITIVE_COLOR,
            **helper,
        )
    selection.active = image
    for layer in (objects, candidate, box, prompts):
        layer.editable = False
    for layer in (box, prompts):
        hide_text(viewer, layer)
    return SessionLayers(classes, objects, candidate, prompts, box)


def placement(image: Image) -> dict[str, Any]:
    """Return the layer arguments that copy the transform of an image layer."""
    return {
        "scale": image.scale,
        "translate": image.translate,
        "rotate": image.rotate,
        "shear": image.shear,
        "affine": image.affine,
        "units": image.units,
    }


def placement_at(image: Image, origin_rc: Sequence[float], step: int = 1) -> dict[str, Any]:
    """Return the layer arguments that place a layer on an image layer.

    Args:
        image: The image layer.
        origin_rc: Position (row, col) in image pixels of the centre of the first pixel of the layer.
        step: Image pixels per side of a pixel of the layer.
    """
    place = placement(image)
    if tuple(origin_rc) != (0, 0):
        shift = np.asarray(image.data_to_world(tuple(origin_rc))) - image.data_to_world((0, 0))
        # napari applies the affine after scale, rotation, shear and translation.
        shift = np.linalg.solve(np.asarray(image.affine.linear_matrix)[-2:, -2:], shift[-2:])
        place["translate"] = np.asarray(image.translate)[-2:] + shift
    return place if step == 1 else {**place, "scale": image.scale * step}


def window_placement(image: Image, window: LabelWindow) -> dict[str, Any]:
    """Return the layer arguments that place the label layers of a window on an image layer."""
    return placement_at(image, window.origin, window.step)


def refill(layer: Labels, values: IntArray, place: Mapping[str, Any]) -> None:
    """Replace all pixels of a label layer and move it.

    Args:
        layer: A two-dimensional label layer backed by a numpy array.
        values: (h, w) label values.
        place: Layer arguments of its transform.
    """
    editable = layer.editable
    with one_slicing(layer):
        for name in ("scale", "translate"):
            setattr(layer, name, place[name])
        if layer.data.shape == values.shape:
            layer.data[...] = values
        else:
            layer.data = values
            layer.editable = editable
    layer.brush_size = layer.brush_size  # napari computes the size of the cursor from the scale.
    forget_strokes(layer)


def remove(viewer: Viewer, layers: Sequence[Layer]) -> None:
    """Remove layers from a viewer in one batch; ignore layers that are not in the viewer."""
    present = [layer for layer in layers if layer in viewer.layers]
    if not present:
        return
    make_context_current(viewer)
    with getattr(viewer.layers, "batched_update", contextlib.nullcontext)():
        for layer in present:
            viewer.layers.remove(layer)


def is_helper(layer: Layer) -> bool:
    """Return whether the user does not need a layer in napari's layer list."""
    return bool(layer.metadata.get(MARK_HELPER, False))


def hide(layers: Iterable[Layer]) -> None:
    """Hide the layers of an image that is not in use, and their rows in napari's layer list."""
    for layer in layers:
        layer.visible = False
        layer.metadata[MARK_HELPER] = True


def hide_results(viewer: Viewer, image: Image) -> None:
    """Hide the results of heads on an image that is not in use; `show_results` shows them again."""
    results = results_on(viewer, image)
    for layer in results:
        layer.metadata.setdefault(_WAS_VISIBLE, layer.visible)
    hide(results)


def show_results(viewer: Viewer, image: Image) -> None:
    """Show the results of heads that `hide_results` has hidden."""
    for layer in results_on(viewer, image):
        if _WAS_VISIBLE in layer.metadata:
            layer.metadata[MARK_HELPER] = False
            layer.visible = layer.metadata.pop(_WAS_VISIBLE)


def results_on(viewer: Viewer, image: Image) -> list[Layer]:
    """List the layers that show results of heads on an image."""
    return [layer for layer in viewer.layers if layer.metadata.get(MARK_HEAD) == image.name]


def write(layer: Labels, box: Box, values: IntArray, always: bool = False) -> bool:
    """Write a box of a label layer and repaint it, without a paint event or a step in napari's undo history.

    Args:
        layer: A two-dimensional label layer backed by a numpy array.
        box: (r0, c0, r1, c1) in pixels, inside the layer.
        values: (r1 - r0, c1 - c0) label values.
        always: Whether the box is repainted even if no value changed.

    Returns:
        Whether a value changed.
    """
    r0, c0, r1, c1 = box
    region = layer.data[r0:r1, c0:c1]
    changed = not np.array_equal(region, values)
    if changed:
        region[...] = values
    if changed or always:
        repaint(layer, box)
    return changed


def write_mask(layer: Labels, mask: LocalMask | None, old: Box | None, value: int = MASK) -> None:
    """Show a mask in place of the previous mask.

    Args:
        layer: The candidate layer.
        mask: The mask; None to show no mask.
        old: Box (r0, c0, r1, c1) of the previous mask, or None.
        value: Label value of the mask.
    """
    new = None if mask is None or mask.bitmap.size == 0 else bounds(mask)
    box = union(old, new)
    if box is None:
        return
    height, width = layer.data.shape
    box = (max(0, box[0]), max(0, box[1]), min(height, box[2]), min(width, box[3]))
    if box[2] <= box[0] or box[3] <= box[1]:
        return
    values = np.zeros((box[2] - box[0], box[3] - box[1]), dtype=layer.data.dtype)
    if mask is not None and new is not None:
        top, left = max(new[0], 0), max(new[1], 0)
        part = mask.bitmap[top - new[0] : max(height - new[0], 0), left - new[1] : max(width - new[1], 0)]
        values[top - box[0] :, left - box[1] :][: part.shape[0], : part.shape[1]][part] = value
    write(layer, box, values)


def recolour(layer: Labels, colormap: DirectLabelColormap) -> None:
    """Set the colours of a label layer."""
    with one_numba_thread():
        layer.colormap = colormap


def fit_to_zoom(layers: SessionLayers, zoom: float) -> None:
    """Draw points and boxes at a constant size on the canvas.

    `Points.canvas_size_limits` limits the size of points, but not the width of their borders (napari 0.9).

    Args:
        layers: The layers.
        zoom: Canvas pixels per world unit.
    """
    canvas_px = zoom * float(layers.prompts.scale[-1])
    layers.prompts.current_size = POINT_CANVAS_PX / canvas_px
    if len(layers.prompts.data):
        layers.prompts.size = POINT_CANVAS_PX / canvas_px
    layers.box.current_edge_width = BOX_CANVAS_PX / canvas_px
    if layers.box.nshapes:
        layers.box.edge_width = BOX_CANVAS_PX / canvas_px


def show_points(layer: Points, points_xy: FloatArray, positive: Sequence[bool]) -> None:
    """Show the points (N, 2) (x, y) of a prompt: positive points green, negative points red."""
    if not len(points_xy) and not len(layer.data):
        return
    with one_refresh(layer):
        layer.data = xy_to_rc(points_xy) if len(points_xy) else np.zeros((0, 2))
        if layer.selected_data:
            layer.selected_data = set()
    # Assign colours only if they changed: an assignment takes milliseconds. New points are green by default. napari
    # draws the points while it assigns colours, so their indices must be those of the new data.
    if len(points_xy):
        colors = transform_color([POSITIVE_COLOR if sign else NEGATIVE_COLOR for sign in positive])
        if not np.array_equal(layer.face_color, colors):
            layer.face_color = colors


def show_boxes(layer: Shapes, boxes_xyxy: Sequence[Sequence[float]]) -> None:
    """Show the boxes (x0, y0, x1, y1) of a prompt."""
    if not boxes_xyxy and not layer.nshapes:
        return
    corners = [
        np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]], dtype=np.float64) for x0, y0, x1, y1 in boxes_xyxy
    ]
    with one_refresh(layer):
        layer.selected_data = set()
        if layer.nshapes:
            layer.data = []
        if corners:
            layer.add_rectangles(corners)
