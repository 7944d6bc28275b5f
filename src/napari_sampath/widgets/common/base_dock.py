"""The base class of the docks: a scrolling column that uses the viewer state and cleans up when it is closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QKeyEvent, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QFrame,
    QLayout,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from ..background.workers import JobRunner
from ..canvas.napari_internals.napari_canvas import focus_canvas
from ..viewer.key_settings import load_keys
from ..viewer.viewer_state import ViewerState, viewer_state_of
from .removable import Removable, forget

MIN_WIDTH_PX = 290


class _Content(QWidget):
    """A column of controls that shrinks to its minimum height before the dock scrolls."""

    def heightForWidth(self, width: int) -> int:
        """Return the minimum height at this width; a scroll area takes it for the least height of the column."""
        layout = self.layout()
        return -1 if layout is None else layout.minimumHeightForWidth(width)


class Dock(Removable, QScrollArea):
    """A column of controls for one viewer; it scrolls if the window is not high enough.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: The viewer state to use; by default the state of the viewer.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__()
        self.state = state or viewer_state_of(napari_viewer)
        content = _Content()
        self.column = QVBoxLayout(content)
        self.column.setContentsMargins(8, 4, 8, 4)
        self.column.setSpacing(3)
        content.installEventFilter(self)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.state.join()
        self._keys: list[tuple[str, Any, Any]] = []
        self._cancel_switches: list[list[Event]] = []
        self._runners: list[int] = []
        # The slot must not refer to the dock, which no longer exists when it is called.
        owned = self._keys, self._cancel_switches, self._runners
        self.destroyed.connect(partial(_clean_up, self.state, *owned, id(self)))

    def fill(self, *items: QWidget | QLayout, growing: QWidget | None = None) -> None:
        """Add widgets and layouts to the column; `growing` takes the free height, which by default stays empty."""
        for item in items:
            if isinstance(item, QWidget):
                self.column.addWidget(item, int(item is growing))
            else:
                self.column.addLayout(item)
        if growing is None:
            self.column.addStretch(1)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Adjust the minimum size when napari's style or a longer text changes the size of the controls."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.setMinimumWidth(self.minimumSizeHint().width())
            self._fit_height()
        return bool(super().eventFilter(watched, event))

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Adjust the height of the column to the new width of its texts."""
        super().resizeEvent(event)
        self._fit_height()

    def _fit_height(self) -> None:
        """Scroll instead of squeezing the controls: a scroll area ignores the height of texts that are wrapped."""
        self.widget().setMinimumHeight(self.column.minimumHeightForWidth(self.viewport().width()))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Return to the canvas when the user has entered a text or number; napari would also commit the candidate."""
        is_input = isinstance(QApplication.focusWidget(), QLineEdit | QAbstractSpinBox)
        if event is not None and is_input and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            event.accept()
            focus_canvas(self.state.viewer)
        else:
            super().keyPressEvent(event)

    def minimumSizeHint(self) -> QSize:
        """Return a size that is wide enough for the controls and the vertical scroll bar."""
        content = self.widget().minimumSizeHint().width()
        # napari's style adds a frame of one pixel even to a scroll area without a frame.
        frame = self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth()
        return QSize(max(content, MIN_WIDTH_PX) + frame, 200)

    def sizeHint(self) -> QSize:
        """Return the size at which all controls are visible."""
        return QSize(self.minimumSizeHint().width(), self.widget().sizeHint().height())

    def cancel_on_close(self, *runners: JobRunner) -> None:
        """Cancel the jobs of these runners when the dock is closed, and show them as running work until then."""
        self.state.activity.watch(*runners)
        self._cancel_switches += [runner.switch for runner in runners]
        self._runners += map(id, runners)

    def bind_key(self, name: str, action: Callable[[], object]) -> str:
        """Bind the key of an action (`Key.name`) until the dock is closed; return the key as shown to the user."""
        viewer = self.state.viewer
        keys = load_keys((viewer,))
        key = keys.key(name)
        previous = viewer.bind_key(key, lambda _viewer: action(), overwrite=True)
        self._keys.append((key, viewer, previous))
        return keys.shown(name)


def _clean_up(
    state: ViewerState,
    keys: list[tuple[str, Any, Any]],
    cancel_switches: list[list[Event]],
    runners: list[int],
    dock_id: int,
    _destroyed: object = None,
) -> None:
    forget(dock_id)
    for switch in cancel_switches:
        switch[0].set()
    state.activity.forget(runners)
    for key, viewer, previous in reversed(keys):
        viewer.bind_key(key, None)
        if previous is not None:
            viewer.bind_key(key, previous)
    keys.clear()
    state.leave()
