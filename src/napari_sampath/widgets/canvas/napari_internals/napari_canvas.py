"""napari's canvas, which has no public name."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer


def canvas_of(viewer: Viewer) -> Any:
    """Return the canvas of a viewer; None if there is no window."""
    return getattr(getattr(viewer.window, "_qt_viewer", None), "canvas", None)


def node_of(viewer: Viewer, layer: Layer) -> Any:
    """Return what draws a layer in the scene of a viewer; None if there is none."""
    visual = getattr(canvas_of(viewer), "layer_to_visual", {}).get(layer)
    return getattr(visual, "node", None)


def drop_text(viewer: Viewer, layer: Layer) -> None:
    """Draw no text on a layer of points or shapes that has none: napari lays an empty one out for each frame."""
    text = getattr(node_of(viewer, layer), "text", None)
    if text is not None:
        text.visible = False


def make_context_current(viewer: Viewer) -> None:
    """Have what is sent to the graphics card from now on reach this viewer's canvas; call before a layer goes.

    napari 0.9 sends what is waiting for the graphics card off when a layer goes. Outside of a repaint that reaches no
    context, or that of another window: what other layers had waiting is lost, and painting them crashes.
    """
    with contextlib.suppress(AttributeError, RuntimeError):  # The window may be closed already.
        canvas_of(viewer).native.makeCurrent()
