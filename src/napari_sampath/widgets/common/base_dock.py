"""The base class of the docks: a scrolling column that shares the viewer state and cleans up when it is closed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Event
from typing import Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QFrame, QLayout, QScrollArea, QVBoxLayout, QWidget

from ..background.workers import JobRunner
from ..viewer.key_settings import load_keys
from ..viewer.viewer_state import ViewerState, viewer_state_of

MIN_WIDTH_PX = 290

_removed: dict[int, QObject] = {}
"""Docks that were taken out of their window, kept until Qt has deleted them."""


class Dock(QScrollArea):
    """A column of controls, which scrolls where the window is too low, bound to the state of one viewer.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: The viewer state to use; that of the viewer if left out.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__()
        self.state = state or viewer_state_of(napari_viewer)
        content = QWidget()
        self.column = QVBoxLayout(content)
        self.column.setContentsMargins(8, 6, 8, 6)
        self.column.setSpacing(5)
        content.installEventFilter(self)
        self.setWidget(content)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.state.join()
        self._keys: list[tuple[str, Any, Any]] = []
        self._cancel_switches: list[list[Event]] = []
        # Must not refer to the dock itself, which is destroyed by then.
        self.destroyed.connect(partial(_clean_up, self.state, self._keys, self._cancel_switches, id(self)))

    def fill(self, *items: QWidget | QLayout, growing: QWidget | None = None) -> None:
        """Put widgets and layouts into the column; `growing` takes the free height, or an empty space below them."""
        for item in items:
            if isinstance(item, QWidget):
                self.column.addWidget(item, int(item is growing))
            else:
                self.column.addLayout(item)
        if growing is None:
            self.column.addStretch(1)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the width of the controls, which napari's style and longer texts change."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.setMinimumWidth(self.minimumSizeHint().width())
        return bool(super().eventFilter(watched, event))

    def event(self, event: QEvent) -> bool:
        """Delete the dock after it was closed: napari takes it out of the window without deleting it."""
        if event.type() == QEvent.Type.ParentChange:
            _removed[id(self)] = self
            QTimer.singleShot(0, self._delete_orphan)
        return bool(super().event(event))

    def minimumSizeHint(self) -> QSize:
        """Return a width at which nothing is cut off beside the vertical scroll bar."""
        content = self.widget().minimumSizeHint().width()
        # napari's style adds a frame of one pixel to a scroll area without a frame.
        frame = self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth()
        return QSize(max(content, MIN_WIDTH_PX) + frame, 200)

    def sizeHint(self) -> QSize:
        """Return the size of all controls."""
        return QSize(self.minimumSizeHint().width(), self.widget().sizeHint().height())

    def _delete_orphan(self) -> None:
        if self.parent() is None:
            self.deleteLater()
        else:
            _removed.pop(id(self), None)

    def cancel_on_close(self, *runners: JobRunner) -> None:
        """Cancel the jobs of these runners when the dock is closed."""
        self._cancel_switches += [runner.switch for runner in runners]

    def bind_key(self, name: str, action: Callable[[], object]) -> str:
        """Bind the user's key for an action (`Key.name`) to the viewer until the dock is closed; returns its text."""
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
    dock_id: int,
    _destroyed: object = None,
) -> None:
    _removed.pop(dock_id, None)
    for switch in cancel_switches:
        switch[0].set()
    for key, viewer, previous in reversed(keys):
        viewer.bind_key(key, None)
        if previous is not None:
            viewer.bind_key(key, previous)
    keys.clear()
    state.leave()
