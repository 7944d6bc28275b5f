"""Find and discard unfinished polygons and outlines of napari's tools for label layers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from napari.layers import Labels


def outline_of(labels: Labels) -> Any:
    """Return napari's overlay of an outline drawn with the right mouse button.

    It has the attribute `active`, with an event of that name, and the method `abort`.

    Replaces: nothing public; reads `Layer._overlays["brush_stroke"]` (napari 0.8 or newer).
    Fallback: None; if the user commits an object during an outline and then aborts the outline, the object is
    overwritten.
    """
    return getattr(labels, "_overlays", {}).get("brush_stroke")


def is_outlining(labels: Labels) -> bool:
    """Return True while the user draws an outline with the right mouse button."""
    outline = outline_of(labels)
    return outline is not None and bool(outline.active)


def drop_unfinished(labels: Labels) -> bool:
    """Abort an unfinished outline or polygon; return False if there is none.

    Replaces: napari's own Escape key; reads `Layer._overlays["polygon"]`.
    Fallback: False; with an unfinished polygon, Undo then undoes the last step instead.
    """
    if is_outlining(labels):
        outline_of(labels).abort(labels)
        return True
    polygon = getattr(labels, "_overlays", {}).get("polygon")
    if polygon is None or not polygon.points:
        return False
    polygon.points = []
    return True


def forget_strokes(labels: Labels) -> None:
    """Empty napari's own undo history of a label layer, whose pixels now show another part of the image.

    Replaces: nothing public; calls `Labels._reset_history`.
    Fallback: nothing is done; the history is reachable only if the user rebinds napari's undo key.
    """
    with contextlib.suppress(AttributeError):
        labels._reset_history()


def move_polygon(labels: Labels, move: Callable[[float, float], tuple[float, float]]) -> None:
    """Move the corners of an unfinished polygon, because the layer is moved under it.

    Replaces: nothing public; changes `Layer._overlays["polygon"].points`.
    Fallback: nothing is done.

    Args:
        labels: The label layer.
        move: Returns the new position (row, col) of a position, both in pixels of the layer.
    """
    polygon = getattr(labels, "_overlays", {}).get("polygon")
    if polygon is not None and polygon.points:
        polygon.points = [[*point[:-2], *move(*point[-2:])] for point in polygon.points]
