"""Move the window of the label layers when the camera rests, or when the view leaves the window.

The labels of the next window are read in a thread; until then the layers keep the current one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ....annotations import Box
from ....jobs import Job, run
from ...background.workers import JobRunner
from ..napari_internals.napari_canvas import canvas_size, resize_event
from ..viewport import box_in_view, camera
from . import label_window
from .content import Filled
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
        fill: Function that makes a job that reads the labels of a window.
        busy: Function that returns True while the window must not move, such as during a stroke.
    """

    moved = Signal(object)
    """Emitted with a `Filled` after `window` has changed."""
    failed = Signal(str)
    """Emitted with a message for the user if the labels cannot be read."""

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        hw: tuple[int, int],
        fill: Callable[[LabelWindow], Job[Filled]],
        busy: Callable[[], bool],
    ) -> None:
        super().__init__()
        self._viewer = viewer
        self._image = image
        self._hw = hw
        self._fill = fill
        self._busy = busy
        self.window: LabelWindow = self._choose()
        """The window that the layers hold."""
        self._runner = JobRunner(self)
        self._runner.failed.connect(self.failed)
        self._unread = False
        """Whether the layers lack labels of their own window, because reading it has not ended."""
        self._waiting = False
        """Whether the camera has moved since the reading of the next window began."""
        self._changed: list[Box] = []
        """Boxes that changed since then."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.update)
        events = camera(viewer).events
        resized = resize_event(viewer)
        self._events = [] if self.window.whole else [events.zoom, events.center]
        if self._events and resized is not None:
            self._events.append(resized)
        for event in self._events:
            event.connect(self._on_camera)

    def close(self) -> None:
        """Stop following the camera."""
        self._timer.stop()
        self._runner.cancel()
        for event in self._events:
            event.disconnect(self._on_camera)
        self._events.clear()

    def update(self) -> None:
        """Begin to move the window if the view has left it or has another resolution."""
        if not self._events:
            return
        if self._busy():
            self._timer.start(REST_MS)
            return
        self._timer.stop()
        wanted = self._choose()
        if self._is_needed(wanted):
            self.read(wanted)

    def read(self, window: LabelWindow) -> None:
        """Read the labels of a window in a thread, and then move there."""
        if self._runner.busy:
            self._waiting = True
            return
        self._waiting = False
        self._unread |= window == self.window
        self._changed.clear()
        self._runner.start(self._fill(window), "reading the annotations in view", self._on_filled)

    def settle(self) -> None:
        """Finish moving the window now, because a stroke that begins must not leave it."""
        if not self._events or self._busy():
            return
        self._timer.stop()
        wanted = self._choose()
        if self._runner.busy or self._is_needed(wanted):
            self._runner.cancel()
            self._waiting = False
            self._on_filled(run(self._fill(wanted)))

    def note(self, box: Box) -> None:
        """Remember a changed box (r0, c0, r1, c1) of the image, if labels are being read."""
        if self._runner.busy:
            self._changed.append(box)

    def changes(self) -> list[Box]:
        """Return the boxes that changed while the labels of the window were read."""
        changed, self._changed = self._changed, []
        return changed

    def _on_filled(self, filled: Filled) -> None:
        if self._busy():
            self._timer.start(REST_MS)
            return
        self.window, self._unread = filled.window, False
        self.moved.emit(filled)
        if self._waiting:
            self.update()

    def _on_camera(self, _event: object = None) -> None:
        if self._covers_view():
            self._timer.start(REST_MS)
        elif not self._timer.isActive() or self._timer.remainingTime() > LEFT_MS:
            self._timer.start(LEFT_MS)

    def _is_needed(self, wanted: LabelWindow) -> bool:
        return self._unread or wanted.step != self.window.step or not self._covers_view()

    def _covers_view(self) -> bool:
        return self.window.contains(box_in_view(self._viewer, self._image, self._hw))

    def _choose(self) -> LabelWindow:
        view = box_in_view(self._viewer, self._image, self._hw)
        canvas_hw = canvas_size(self._viewer) or UNKNOWN_CANVAS_HW
        return choose_window(self._hw, view, canvas_hw, label_window.WHOLE_PX)
