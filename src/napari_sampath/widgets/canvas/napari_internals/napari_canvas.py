"""Access to napari's canvas and scene graph, which are not part of its public interface."""

from __future__ import annotations

import contextlib
from typing import Any

from napari.layers import Layer
from napari.viewer import Viewer


def canvas_of(viewer: Viewer) -> Any:
    """Return the canvas of a viewer.

    Replaces: nothing public; reads `Window._qt_viewer.canvas`.
    Fallback: None, as for a viewer without a window.
    """
    return getattr(getattr(viewer.window, "_qt_viewer", None), "canvas", None)


def canvas_size(viewer: Viewer) -> tuple[int, int] | None:
    """Return the size (height, width) of the canvas in canvas pixels.

    Replaces: nothing public; reads `VispyCanvas.size`.
    Fallback: None; the whole image then counts as in view and is encoded.
    """
    size = getattr(canvas_of(viewer), "size", None)
    return None if size is None else (int(size[0]), int(size[1]))


def resize_event(viewer: Viewer) -> Any:
    """Return the event that the canvas of a viewer emits when its size changes.

    Replaces: nothing public; reads `VispyCanvas.events`.
    Fallback: None; the size is noticed when the camera moves.
    """
    return getattr(getattr(canvas_of(viewer), "events", None), "resize", None)


def node_of(viewer: Viewer, layer: Layer) -> Any:
    """Return the vispy node that draws a layer.

    Replaces: nothing public; reads `VispyCanvas.layer_to_visual`.
    Fallback: None; overlay lines are not drawn, and empty layers are drawn as a whole.
    """
    visual = getattr(canvas_of(viewer), "layer_to_visual", {}).get(layer)
    return getattr(visual, "node", None)


def focus_canvas(viewer: Viewer) -> None:
    """Return the keyboard focus to the canvas, so that keys act on the image.

    Replaces: nothing public; reads `VispyCanvas.native`.
    Fallback: nothing is done; the user clicks on the image first.
    """
    native = getattr(canvas_of(viewer), "native", None)
    if native is not None:
        native.setFocus()


def hide_text(viewer: Viewer, layer: Layer) -> None:
    """Hide the empty text of a points or shapes layer, which napari lays out for each frame.

    Replaces: `layer.text.visible`, which does not stop the layout (napari 0.9); sets `node.text.visible`.
    Fallback: the empty text is laid out; each frame takes longer.
    """
    text = getattr(node_of(viewer, layer), "text", None)
    if text is not None:
        text.visible = False


def make_context_current(viewer: Viewer) -> None:
    """Make the OpenGL context of a viewer's canvas the current one; call before layers are removed.

    Replaces: nothing public. napari 0.9 flushes the queued OpenGL commands when a layer is removed; outside a repaint
    they go to no context or to the context of another window, and painting the other layers crashes.
    Fallback: nothing is done.
    """
    with contextlib.suppress(AttributeError, RuntimeError):  # The window may be closed already.
        canvas_of(viewer).native.makeCurrent()
