"""A hand for demonstrations and tests: real Qt mouse and key events on a viewer's canvas and on the docks."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QCheckBox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari.layers import Image
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
NONE = Qt.KeyboardModifier.NoModifier
ALT = Qt.KeyboardModifier.AltModifier
CTRL = Qt.KeyboardModifier.ControlModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier

LEAST_CANVAS_PX, QUIET_S = 100, 0.3
STEPS = 6
"""Mouse moves between two positions of a drag."""


class GuiDriver:
    """Clicks, drags and types in a window that is shown.

    Args:
        viewer: The viewer.
        image: The image layer in whose pixels (x, y) positions are given.
    """

    def __init__(self, viewer: Viewer, image: Image) -> None:
        self.viewer = viewer
        self.image = image
        self._canvas: Any = viewer.window._qt_viewer.canvas
        self.native: QWidget = self._canvas.native

    def settle(self) -> None:
        """Wait until the window is laid out, and fit the image into what the docks left of it.

        Raises:
            TimeoutError: If the canvas gets no size.
        """
        size, since = (0, 0), time.monotonic()

        def quiet() -> bool:
            nonlocal size, since
            now = (self.native.width(), self.native.height())
            if now != size:
                size, since = now, time.monotonic()
            return min(size) >= LEAST_CANVAS_PX and time.monotonic() - since > QUIET_S

        wait_until(quiet, 30, f"the canvas to be {LEAST_CANVAS_PX} px wide and high at least")
        self.viewer.reset_view()

    def at(self, x: float, y: float) -> QPoint:
        """Return where an image pixel (x, y) is on the canvas, in canvas pixels."""
        row, col = self.image.data_to_world((y, x))[-2:]
        view = self._canvas.view
        place = (view.transform * view.scene.transform).map([col, row, 0, 1])
        return QPoint(round(float(place[0] / place[3])), round(float(place[1] / place[3])))

    def move(self, x: float, y: float) -> None:
        """Move the mouse to an image pixel."""
        self._move(self.at(x, y), Qt.MouseButton.NoButton, NONE)

    def click(self, x: float, y: float, button: Any = LEFT, modifiers: Any = NONE) -> None:
        """Press and release a mouse button at an image pixel."""
        place = self.at(x, y)
        self._move(place, Qt.MouseButton.NoButton, NONE)
        QTest.mousePress(self.native, button, modifiers, place)
        QTest.mouseRelease(self.native, button, modifiers, place)
        QApplication.processEvents()

    def double_click(self, x: float, y: float, button: Any = LEFT, modifiers: Any = NONE) -> None:
        """Press and release a mouse button twice at an image pixel."""
        place = self.at(x, y)
        self._move(place, Qt.MouseButton.NoButton, NONE)
        QTest.mouseDClick(self.native, button, modifiers, place)
        QApplication.processEvents()

    def drag(
        self,
        path_xy: Sequence[tuple[float, float]],
        button: Any = LEFT,
        modifiers: Any = NONE,
        release: bool = True,
    ) -> None:
        """Press at the first image pixel of a path, move along it, release at the last, if wished."""
        places = [self.at(x, y) for x, y in path_xy]
        self._move(places[0], Qt.MouseButton.NoButton, NONE)
        QTest.mousePress(self.native, button, modifiers, places[0])
        for first, second in pairwise(places):
            for share in np.linspace(0, 1, STEPS + 1)[1:]:
                self._move(first + (second - first) * float(share), button, modifiers)
            # A hand rests in a corner, too: napari may have passed over the move that led there.
            self._move(second, button, modifiers)
        if release:
            QTest.mouseRelease(self.native, button, modifiers, places[-1])
        QApplication.processEvents()

    def key(self, key: Any, modifiers: Any = NONE) -> None:
        """Press and release a key on the canvas."""
        self.native.setFocus()
        QTest.keyClick(self.native, key, modifiers)
        QApplication.processEvents()

    def hold(self, key: Any, down: bool) -> None:
        """Press a key on the canvas and keep it down, or let go of it."""
        self.native.setFocus()
        (QTest.keyPress if down else QTest.keyRelease)(self.native, key)
        QApplication.processEvents()

    def press(self, button: QWidget) -> None:
        """Click a button of a dock, a check box at its tick: the rest of its width may be empty."""
        place = button.rect().center()
        if isinstance(button, QCheckBox):
            place.setX(button.height() // 2)
        QTest.mouseClick(button, LEFT, NONE, place)
        QApplication.processEvents()

    def screenshot(self, path: Path) -> None:
        """Save a picture of the whole window."""
        for _ in range(3):
            QApplication.processEvents()
            time.sleep(0.05)
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)

    def _move(self, place: QPoint, button: Any, modifiers: Any) -> None:
        position = QPointF(place)
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            position,
            QPointF(self.native.mapToGlobal(place)),
            Qt.MouseButton.NoButton,
            button,
            modifiers,
        )
        QApplication.sendEvent(self.native, event)
        QApplication.processEvents()
        # napari looks at moves once in five milliseconds.
        time.sleep(0.006)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Let the window live until a condition holds.

    Args:
        condition: Looked at again and again.
        timeout_s: Longest wait.
        what: What is waited for, for the error.

    Returns:
        Seconds waited.

    Raises:
        TimeoutError: If it does not hold in time.
    """
    begin = time.perf_counter()
    while not condition():
        if time.perf_counter() - begin > timeout_s:
            raise TimeoutError(f"Waited {timeout_s:g} s in vain for {what}.")
        QApplication.processEvents()
        time.sleep(0.002)
    return time.perf_counter() - begin
