"""Unit of napari's scale bar."""

from __future__ import annotations

from functools import partial
from inspect import signature
from typing import Any

from napari.viewer import Viewer

from .napari_canvas import canvas_of

_REPLACED = "_on_unit_change"
"""Method of the drawn scale bar that reads the unit of the layers."""


def scale_bar(viewer: Viewer) -> Any:
    """Return the scale bar of a viewer, which napari 0.9 moved to `viewer.canvas.overlays`."""
    canvas: Any = getattr(viewer, "canvas", None)
    return viewer.scale_bar if canvas is None else canvas.overlays.scale_bar


def drawn_scale_bars(viewer: Viewer) -> list[Any]:
    """Return the drawn scale bars of a viewer.

    Replaces: nothing public; reads `VispyCanvas._viewer_overlay_to_visual`, before napari 0.9 `_overlay_to_visual`.
    Fallback: none.
    """
    canvas = canvas_of(viewer)
    drawn = getattr(canvas, "_viewer_overlay_to_visual", getattr(canvas, "_overlay_to_visual", {}))
    return list(drawn.get(scale_bar(viewer), ()))


def set_scale_bar_unit(viewer: Viewer, um: float | None) -> None:
    """Show micrometres in the scale bar even if the layers have no unit.

    Replaces: `ScaleBarOverlay.unit`, which has no effect since napari 0.8. Changing `Layer.units` of one layer would
    make napari warn about all others.
    Fallback: the scale bar shows the unit of the layers, pixels by default.

    Args:
        viewer: The viewer.
        um: Length of one unit of the world coordinates in micrometres; None for the unit of the layers.
    """
    bar = scale_bar(viewer)
    if "unit" in getattr(
        type(bar), "model_fields", getattr(type(bar), "__fields__", {})
    ):  # Before napari 0.8.
        bar.unit = None if um is None else f"{um} um"
        return
    for drawn in drawn_scale_bars(viewer):
        if um is not None:
            setattr(drawn, _REPLACED, partial(_show_micrometres, drawn, um))
        elif vars(drawn).pop(_REPLACED, None) is None:
            continue
        getattr(drawn, _REPLACED)()


def _show_micrometres(drawn: Any, um: float) -> None:
    drawn._unit = type(drawn._unit)(um, "micrometer")
    update = drawn._on_size_or_zoom_change
    if "force" in signature(update).parameters:  # Before napari 0.10.
        update(force=True)
    else:
        update()
