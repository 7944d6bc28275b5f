"""What one of napari's own tools for label layers has begun: a polygon, or the right mouse button's outline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Labels


def outline_of(labels: Labels) -> Any:
    """Return the state of the right button's outline, `active` with an event of that name; None before napari 0.9."""
    return labels._overlays.get("brush_stroke")


def is_outlining(labels: Labels) -> bool:
    """True between the right click that begins an outline and the move that closes it."""
    outline = outline_of(labels)
    return outline is not None and bool(outline.active)


def drop_unfinished(labels: Labels) -> bool:
    """Take back a polygon or outline that is not finished; return whether there was one."""
    if is_outlining(labels):
        outline_of(labels).abort(labels)
        return True
    polygon = labels._overlays.get("polygon")
    if polygon is None or not polygon.points:
        return False
    polygon.points = []
    return True
