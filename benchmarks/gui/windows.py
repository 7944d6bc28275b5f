"""Viewers that measure the time from a mouse or key event to the end of the frame that shows its result."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from vispy.gloo import gl

from napari_sampath.jobs import Progress
from napari_sampath.widgets.annotate.dock import AnnotateDock
from napari_sampath.widgets.viewer.viewer_state import ViewerState

from ..gui_driver import LEFT, NONE, GuiDriver, wait_until

WINDOW_PX = (1280, 800)
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


class TimedViewer:
    """Viewer of 1280 x 800 px that shows the middle of an image, one canvas pixel per image pixel."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.viewer = napari.Viewer(show=True)
        self.viewer.window._qt_window.resize(*WINDOW_PX)
        self.image = self.open(pixels)
        self.driver = GuiDriver(self.viewer, self.image)
        self._ready: Callable[[], bool] = lambda: False
        self._painted_at: float | None = None
        self._wake = QTimer()
        self._wake.start(50)
        self._scene = self.viewer.window._qt_viewer.canvas._scene_canvas
        self._scene.events.draw.connect(self._on_draw, position="last")

    def open(self, pixels: np.ndarray) -> Any:
        """Add the image layer."""
        return self.viewer.add_image(pixels, name="tissue")

    def settle(self) -> None:
        """Wait for the window, then centre the image at zoom 1."""
        self.driver.settle()
        height, width = self.image.data.shape[:2]
        camera = getattr(self.viewer, "scene", self.viewer).camera
        camera.center = (0, height / 2, width / 2)
        camera.zoom = 1.0
        self.wait()

    def wait(self, seconds: float = 0.15) -> None:
        """Process events for some time, so that pending work ends."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            QApplication.processEvents()
            time.sleep(0.005)

    def until_painted(self, act: Callable[[], object], ready: Callable[[], bool]) -> float:
        """Call `act`; return the seconds until the end of the first frame that starts with `ready()` true."""
        self._painted_at, self._ready = None, ready
        begin = time.perf_counter()
        act()
        while self._painted_at is None:
            # Block until the next event; polling would take the interpreter lock from the worker.
            QApplication.processEvents(QEventLoop.ProcessEventsFlag.WaitForMoreEvents)
            if time.perf_counter() - begin > 120:
                raise TimeoutError("No frame was painted within 120 s.")
        self._ready = lambda: False
        return self._painted_at - begin

    def frame(self) -> float:
        """Return the duration in seconds of a frame in which nothing has changed."""
        return self.until_painted(self._scene.update, lambda: True)

    def click_at(self, x: float, y: float) -> Callable[[], None]:
        """Return a function that clicks at an image pixel without moving the mouse, which must be there already."""
        position = self.driver.at(x, y)

        def click() -> None:
            QTest.mousePress(self.driver.native, LEFT, NONE, position)
            QTest.mouseRelease(self.driver.native, LEFT, NONE, position)

        return click

    def close(self) -> None:
        """Close the window."""
        self._wake.stop()
        self.viewer.close()

    def _on_draw(self, _event: Any) -> None:
        if self._ready():
            gl.glFinish()
            self._painted_at = time.perf_counter()


class SampathViewer(TimedViewer):
    """Viewer with the Annotate dock and an encoded image; the preview is off.

    The model is loaded in the background, as in the docks: if the GUI thread had run multi-threaded operations, there
    would be more OpenMP threads than cores, and prompts would take twice as long.
    """

    def __init__(self, pixels: np.ndarray, load: Callable[[], Any], folder: Path) -> None:
        super().__init__(pixels)
        state = ViewerState(self.viewer, load_model=lambda _choice: _loaded(load), sessions_dir=folder)
        self.dock = AnnotateDock(self.viewer, state)
        self.viewer.window.add_dock_widget(self.dock, name="Annotate", area="right")
        wait_until(lambda: state.ready, 600, "the image to be encoded")
        self.state = state
        self.model: Any = state.model
        self.session: Any = state.session
        self.settle()
        state.annotator.preview.on = False

    @contextlib.contextmanager
    def decoding(self) -> Iterator[list[float]]:
        """Collect the seconds of each call of the decoder."""
        decode, spent = self.model.decode, []

        def timed(*args: Any, **options: Any) -> Any:
            begin = time.perf_counter()
            try:
                return decode(*args, **options)
            finally:
                spent.append(time.perf_counter() - begin)

        self.model.decode = timed
        try:
            yield spent
        finally:
            del self.model.decode

    def time_click(self, x: float, y: float) -> tuple[float, float]:
        """Click on an image pixel; return the seconds until the mask is painted and the seconds in the decoder."""
        self.driver.move(x, y)
        self.wait()
        before = self.session.prompts.candidate
        with self.decoding() as decoding_s:
            total = self.until_painted(
                self.click_at(x, y), lambda: self.session.prompts.candidate not in (None, before)
            )
        shown = self.state.annotator.layers.candidate.data[self.session.prompts.candidate.mask.slices] == 1
        if not np.array_equal(shown, self.session.prompts.candidate.mask.bitmap):
            raise AssertionError("The painted pixels are not the mask.")
        self.driver.key(Qt.Key.Key_Escape)
        self.wait()
        return total, sum(decoding_s)

    def time_key(self, modifiers: Any) -> float:
        """Press Ctrl-Z or Ctrl-Shift-Z; return the seconds until the change is painted."""
        changed: list[object] = []
        self.session.document_changed.connect(changed.append)
        self.driver.native.setFocus()
        try:
            return self.until_painted(
                lambda: QTest.keyClick(self.driver.native, Qt.Key.Key_Z, modifiers), lambda: bool(changed)
            )
        finally:
            self.session.document_changed.disconnect(changed.append)
            self.wait()


class PredictorViewer(TimedViewer):
    """Viewer that handles clicks as other plugins do.

    `SamPredictor.predict` runs in the GUI thread on the embedding of the whole image, and the mask replaces the data of
    a label layer.
    """

    def __init__(self, pixels: np.ndarray, predictor: Any) -> None:
        super().__init__(pixels)
        self.labels = self.viewer.add_labels(np.zeros(pixels.shape[:2], np.uint8), name="Mask")
        self.viewer.layers.selection.active = self.image
        self._predictor = predictor
        self._painted = False
        self.viewer.mouse_drag_callbacks.append(self._on_click)
        self.settle()

    def time_click(self, x: float, y: float) -> float:
        """Click on an image pixel; return the seconds until the mask is painted."""
        self.driver.move(x, y)
        self.wait()
        self._painted = False
        return self.until_painted(self.click_at(x, y), lambda: self._painted)

    def _on_click(self, _viewer: Any, event: Any) -> None:
        row, col = self.image.world_to_data(event.position)[-2:]
        masks, scores, _ = self._predictor.predict(np.array([[col, row]]), np.array([1]))
        self.labels.data = masks[scores.argmax()].astype(np.uint8)
        self._painted = True


def _loaded(load: Callable[[], Any]) -> Iterator[Any]:
    yield Progress(0, 0, "Loading")
    return load()
