"""Unfinished polygons and outlines of napari's own tools for label layers."""

from __future__ import annotations

from typing import Any

from napari.layers import Labels


def outline_of(labels: Labels) -> Any:
    """Return the outline that the right mouse button draws: `active`, with an event of that name, and `abort`.

    Replaces: nothing public; reads `Layer._overlays["brush_stroke"]` (napari 0.9 or newer).
    Fallback: None; an object that is committed during an outline is overwritten if the outline is aborted.
    """
    return getattr(labels, "_overlays", {}).get("brush_stroke")


def is_outlining(labels: Labels) -> bool:
    """Return True between the right click that starts an outline and the move that closes it."""
    outline = outline_of(labels)
    return outline is not None and bool(outline.active)


def drop_unfinished(labels: Labels) -> bool:
    """Abort an unfinished outline or polygon; return False if there is none.

    Replaces: napari's own Escape key; reads `Layer._overlays["polygon"]`.
    Fallback: False; Undo then undoes the last step although a polygon is unfinished.
    """
    if is_outlining(labels):
        outline_of(labels).abort(labels)
        return True
    polygon = getattr(labels, "_overlays", {}).get("polygon")
    if polygon is None or not polygon.points:
        return False
    polygon.points = []
    return True
