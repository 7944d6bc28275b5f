"""Driver of the user interface for benchmarks and tests: Qt mouse and key events on the canvas and the docks."""

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

MIN_CANVAS_PX, STABLE_S = 100, 0.15
STEPS = 6
"""Mouse moves per segment of a drag."""


class GuiDriver:
    """Sends mouse and key events to a visible viewer.

    Args:
        viewer: The viewer.
        image: Image layer; the methods take positions (x, y) in its pixels.
    """

    def __init__(self, viewer: Viewer, image: Image) -> None:
        self.viewer = viewer
        self.image = image
        self._canvas: Any = viewer.window._qt_viewer.canvas
        self.native: QWidget = self._canvas.native

    def settle(self) -> None:
        """Wait until the layout of the window is stable, then fit the image into the canvas.

        Raises:
            TimeoutError: If the canvas stays too small.
        """
        size, since = (0, 0), time.monotonic()

        def stable() -> bool:
            nonlocal size, since
            current = (self.native.width(), self.native.height())
            if current != size:
                size, since = current, time.monotonic()
            return min(size) >= MIN_CANVAS_PX and time.monotonic() - since > STABLE_S

        wait_until(stable, 30, f"the canvas to be {MIN_CANVAS_PX} px wide and high")
        self.viewer.reset_view()

    def at(self, x: float, y: float) -> QPoint:
        """Return the canvas position of an image pixel (x, y)."""
        row, col = self.image.data_to_world((y, x))[-2:]
        view = self._canvas.view
        position = (view.transform * view.scene.transform).map([col, row, 0, 1])
        return QPoint(round(float(position[0] / position[3])), round(float(position[1] / position[3])))

    def move(self, x: float, y: float) -> None:
        """Move the mouse to an image pixel."""
        self._move(self.at(x, y), Qt.MouseButton.NoButton, NONE)

    def click(self, x: float, y: float, button: Any = LEFT, modifiers: Any = NONE) -> None:
        """Press and release a mouse button at an image pixel."""
        position = self.at(x, y)
        self._move(position, Qt.MouseButton.NoButton, NONE)
        QTest.mousePress(self.native, button, modifiers, position)
        QTest.mouseRelease(self.native, button, modifiers, position)
        QApplication.processEvents()

    def double_click(self, x: float, y: float, button: Any = LEFT, modifiers: Any = NONE) -> None:
        """Press and release a mouse button twice at an image pixel."""
        position = self.at(x, y)
        self._move(position, Qt.MouseButton.NoButton, NONE)
        QTest.mouseDClick(self.native, button, modifiers, position)
        QApplication.processEvents()

    def drag(
        self,
        path_xy: Sequence[tuple[float, float]],
        button: Any = LEFT,
        modifiers: Any = NONE,
        release: bool = True,
    ) -> None:
        """Press at the first pixel of a path, move along the path and, with `release`, release at the last pixel."""
        positions = [self.at(x, y) for x, y in path_xy]
        self._move(positions[0], Qt.MouseButton.NoButton, NONE)
        QTest.mousePress(self.native, button, modifiers, positions[0])
        for first, second in pairwise(positions):
            for share in np.linspace(0, 1, STEPS + 1)[1:]:
                self._move(first + (second - first) * float(share), button, modifiers)
            # Repeat the last move: napari may have dropped it, and users pause at corners too.
            self._move(second, button, modifiers)
        if release:
            QTest.mouseRelease(self.native, button, modifiers, positions[-1])
        QApplication.processEvents()

    def key(self, key: Any, modifiers: Any = NONE) -> None:
        """Press and release a key on the canvas."""
        self.native.setFocus()
        QTest.keyClick(self.native, key, modifiers)
        QApplication.processEvents()

    def hold(self, key: Any, down: bool) -> None:
        """Press a key on the canvas without releasing it, or release it."""
        self.native.setFocus()
        (QTest.keyPress if down else QTest.keyRelease)(self.native, key)
        QApplication.processEvents()

    def press(self, button: QWidget) -> None:
        """Click a button of a dock; click a check box on its indicator, since the rest of its width may be empty."""
        position = button.rect().center()
        if isinstance(button, QCheckBox):
            position.setX(button.height() // 2)
        QTest.mouseClick(button, LEFT, NONE, position)
        QApplication.processEvents()

    def screenshot(self, path: Path) -> None:
        """Save a screenshot of the whole window."""
        save_screenshot(self.viewer, path)

    def _move(self, position: QPoint, button: Any, modifiers: Any) -> None:
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(position),
            QPointF(self.native.mapToGlobal(position)),
            Qt.MouseButton.NoButton,
            button,
            modifiers,
        )
        QApplication.sendEvent(self.native, event)
        QApplication.processEvents()
        # napari handles at most one mouse move per 5 ms.
        time.sleep(0.006)


def save_screenshot(viewer: Viewer, path: Path) -> None:
    """Save a screenshot of the whole window of a viewer."""
    for _ in range(3):
        QApplication.processEvents()
        time.sleep(0.05)
    viewer.screenshot(str(path), canvas_only=False, flash=False)


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> float:
    """Process Qt events until a condition holds.

    Args:
        condition: Called repeatedly.
        timeout_s: Maximum wait.
        what: Description of the condition for the error message.

    Returns:
        Seconds waited.

    Raises:
        TimeoutError: If the condition does not hold in time.
    """
    begin = time.perf_counter()
    while not condition():
        if time.perf_counter() - begin > timeout_s:
            raise TimeoutError(f"Waited {timeout_s:g} s for {what}.")
        QApplication.processEvents()
        time.sleep(0.002)
    return time.perf_counter() - begin
