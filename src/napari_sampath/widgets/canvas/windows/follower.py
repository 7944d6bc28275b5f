"""Move the window of the label layers when the camera rests, or when the view leaves the window."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ..napari_internals.napari_canvas import canvas_size
from ..viewport import box_in_view, camera
from . import label_window
from .label_window import LabelWindow, choose_window

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

REST_MS = 150
"""Time without camera movement after which the window gets another resolution."""
LEFT_MS = 60
"""Minimum time between moves while the view is outside the window."""
UNKNOWN_CANVAS_HW = (1024, 1024)
"""Size assumed if napari does not report the size of the canvas."""


class WindowFollower(QObject):
    """Chooses the window of the label layers of an image; for an image that fits into one, it never moves.

    Args:
        viewer: The viewer.
        image: The image layer.
        hw: Size (H, W) of the image.
        busy: Function that returns True while the window must not move, such as during a stroke.
    """

    moved = Signal()
    """Emitted after `window` has changed."""

    def __init__(self, viewer: Viewer, image: Image, hw: tuple[int, int], busy: Callable[[], bool]) -> None:
        super().__init__()
        self._viewer = viewer
        self._image = image
        self._hw = hw
        self._busy = busy
        self.window: LabelWindow = self._choose()
        """The current window."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.update)
        events = camera(viewer).events
        self._events = [] if self.window.whole else [events.zoom, events.center]
        for event in self._events:
            event.connect(self._on_camera)

    def close(self) -> None:
        """Stop following the camera."""
        self._timer.stop()
        for event in self._events:
            event.disconnect(self._on_camera)
        self._events.clear()

    def update(self) -> None:
        """Move the window now if the view has left it or has another resolution."""
        if not self._events:
            return
        if self._busy():
            self._timer.start(REST_MS)
            return
        self._timer.stop()
        wanted = self._choose()
        if wanted.step != self.window.step or not self._covers_view():
            self.window = wanted
            self.moved.emit()

    def _on_camera(self) -> None:
        if self._covers_view():
            self._timer.start(REST_MS)
        elif not self._timer.isActive() or self._timer.remainingTime() > LEFT_MS:
            self._timer.start(LEFT_MS)

    def _covers_view(self) -> bool:
        return self.window.contains(box_in_view(self._viewer, self._image, self._hw))

    def _choose(self) -> LabelWindow:
        view = box_in_view(self._viewer, self._image, self._hw)
        canvas_hw = canvas_size(self._viewer) or UNKNOWN_CANVAS_HW
        return choose_window(self._hw, view, canvas_hw, label_window.WHOLE_PX)
