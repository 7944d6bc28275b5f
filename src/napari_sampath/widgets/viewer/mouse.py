"""Mouse input on the canvas for annotating: clicks, boxes and strokes.

Positions are (x, y) in pixels of the image layer. napari puts the centre of pixel (row i, column j) at (i, j), as SAM
does, so positions are passed on unchanged.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from typing import Any, Protocol

import numpy as np
from napari.layers import Image
from napari.viewer import Viewer

from ..canvas.viewport import camera

DRAG_PX = 5
"""A drag that is shorter than this, in canvas pixels, counts as a click."""

LEFT, RIGHT = 1, 2


class Mode(StrEnum):
    """What a click or a drag on the image does."""

    POINT = "point"
    """Click sets a point; drag sets a box; Shift-drag adds the box of another object."""
    BOX = "box"
    """Drag, or two clicks on opposite corners, set a box; Shift-drag adds the box of another object."""
    MASK = "mask"
    """Drag paints a scribble, click selects an object; either becomes the mask prompt."""
    LASSO = "lasso"
    """Drag draws an outline whose interior becomes the mask prompt; click works as in `MASK`."""
    BRUSH = "brush"
    """napari's brush on the class layer."""
    ERASE = "erase"
    """napari's eraser on the class layer."""
    MOVE = "move"
    """The mouse moves the image, as without this plugin."""


class Target(Protocol):
    """Receives mouse input; positions are (x, y) in image pixels."""

    mode: Mode

    def click(self, x: float, y: float, positive: bool) -> None:
        """Handle a click."""

    def drag_box(self, x0: float, y0: float, x1: float, y1: float, done: bool, further: bool = False) -> None:
        """Handle a box during the drag and when it is `done`; with `further`, add it to the existing boxes."""

    def scribble(self, path_xy: Sequence[tuple[float, float]], done: bool) -> None:
        """Handle a scribble: its last two positions during the drag, and its whole path when it is `done`."""

    def lasso(self, path_xy: Sequence[tuple[float, float]], done: bool) -> None:
        """Handle an outline: its path so far during the drag, and its whole path when it is `done`."""

    def hover(self, xy: tuple[float, float] | None) -> None:
        """Handle the mouse position if a click there would set a point; None if it would not."""


class MouseTool:
    """Passes presses and drags on one viewer's canvas to a target.

    It is active only while the active layer is in napari's pan and zoom mode, so that the tools of other layers keep
    working. It is inactive while the space bar is held, which always moves the image. A left drag does not move the
    camera; a right drag zooms as usual.

    Args:
        viewer: The viewer.
        image: The image layer in whose pixels positions are given.
        target: Receives the input.
    """

    def __init__(self, viewer: Viewer, image: Image, target: Target) -> None:
        self.viewer = viewer
        self.image = image
        self.target = target
        self.held = False
        """True while the space bar is held."""
        self.accepts: Callable[[Any, bool], bool] = lambda _world, _say: True
        """Returns whether input at a position in world coordinates reaches the image, and may show a message."""
        self._double_click_zoom: list[Any] = []
        viewer.mouse_drag_callbacks.append(self.on_drag)
        viewer.mouse_move_callbacks.append(self.on_move)

    def close(self) -> None:
        """Disconnect from the viewer."""
        for callbacks, callback in (
            (self.viewer.mouse_drag_callbacks, self.on_drag),
            (self.viewer.mouse_move_callbacks, self.on_move),
        ):
            if callback in callbacks:
                callbacks.remove(callback)
        self.keep_double_click_zoom(True)

    def keep_double_click_zoom(self, keep: bool) -> None:
        """Enable or disable napari's double-click zoom, which two quick clicks would trigger."""
        callbacks = self.viewer.mouse_double_click_callbacks
        if keep:
            callbacks.extend(self._double_click_zoom)
            self._double_click_zoom = []
        else:
            zoom = [
                function
                for function in callbacks
                if getattr(function, "__name__", "") == "double_click_to_zoom"
            ]
            for callback in zoom:
                callbacks.remove(callback)
            self._double_click_zoom += zoom

    @property
    def active(self) -> bool:
        """Whether mouse input currently sets prompts."""
        layer = self.viewer.layers.selection.active
        return (
            self.target.mode in (Mode.POINT, Mode.BOX, Mode.MASK, Mode.LASSO)
            and not self.held
            and self.viewer.dims.ndisplay == 2
            and (layer is None or str(layer.mode) == "pan_zoom")
        )

    def on_move(self, viewer: Viewer, event: Any) -> None:
        """Handle a mouse move without a button (napari's move callback)."""
        clickable = self.active and self.target.mode is Mode.POINT and self.accepts(event.position, False)
        self.target.hover(self.xy(event) if clickable else None)

    def on_drag(self, viewer: Viewer, event: Any) -> Generator[None, None, None]:
        """Handle a press until its release (napari's drag callback)."""
        if not self.active or event.button not in (LEFT, RIGHT):
            self.target.hover(None)
            return
        if not self.accepts(event.position, True):
            event.handled = True
            return
        if event.button == RIGHT or {"Alt", "Control"} & set(event.modifiers):
            yield from self._click(event, positive=False)
            return
        further = "Shift" in event.modifiers
        if further and self.target.mode not in (Mode.POINT, Mode.BOX):
            return
        # Otherwise vispy renders the scene again to find the visual under the mouse.
        event.handled = True
        with self._camera_still():
            if self.target.mode is Mode.MASK:
                yield from self._freehand(event, self._scribble)
            elif self.target.mode is Mode.LASSO:
                yield from self._freehand(event, self.target.lasso)
            else:
                yield from self._box_or_click(event, further)

    def xy(self, event: Any) -> tuple[float, float]:
        """Return the position (x, y) of an event in image pixels."""
        row, col = self.image.world_to_data(event.position)[-2:]
        return float(col), float(row)

    def _click(self, event: Any, positive: bool) -> Generator[None, None, None]:
        start, position = np.array(event.pos), self.xy(event)
        yield
        moved = 0.0
        while event.type == "mouse_move":
            moved = max(moved, _distance(event, start))
            yield
        if max(moved, _distance(event, start)) < DRAG_PX:
            self.target.click(*position, positive)

    def _box_or_click(self, event: Any, further: bool) -> Generator[None, None, None]:
        start, (x0, y0) = np.array(event.pos), self.xy(event)
        dragged = False
        yield
        while event.type == "mouse_move":
            dragged = dragged or _distance(event, start) >= DRAG_PX
            if dragged:
                self.target.drag_box(x0, y0, *self.xy(event), done=False, further=further)
            yield
        if dragged or _distance(event, start) >= DRAG_PX:
            self.target.drag_box(x0, y0, *self.xy(event), done=True, further=further)
        elif not further:
            self.target.click(x0, y0, True)

    def _freehand(
        self, event: Any, draw: Callable[[Sequence[tuple[float, float]], bool], None]
    ) -> Generator[None, None, None]:
        start, path = np.array(event.pos), [self.xy(event)]
        dragged = False
        yield
        while event.type == "mouse_move":
            path.append(self.xy(event))
            dragged = dragged or _distance(event, start) >= DRAG_PX
            if dragged:
                draw(path, False)
            yield
        if dragged:
            # napari skips mouse moves in quick succession, but always reports the position of the release.
            draw([*path, self.xy(event)], True)
        else:
            self.target.click(*path[0], True)

    def _scribble(self, path: Sequence[tuple[float, float]], done: bool) -> None:
        self.target.scribble(path if done else path[-2:], done)

    @contextlib.contextmanager
    def _camera_still(self) -> Generator[None, None, None]:
        view = camera(self.viewer)
        before = view.mouse_pan
        view.mouse_pan = False
        try:
            yield
        finally:
            view.mouse_pan = before


def _distance(event: Any, start: Any) -> float:
    return float(np.abs(np.asarray(event.pos) - start).max())
