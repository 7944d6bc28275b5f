"""What the docks have in common: a scrolling column, the state of the viewer, and a clean end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QSize, Qt, QTimer
from qtpy.QtWidgets import QFrame, QGroupBox, QPushButton, QScrollArea, QVBoxLayout, QWidget

from ..viewer.key_settings import load_keys
from ..viewer.viewer_state import ViewerState, viewer_state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from ..background.workers import JobRunner

MIN_WIDTH_PX = 290

_leaving: dict[int, QObject] = {}
"""Docks that have left their window, until Qt has deleted them: where Python does so, nothing is told of it."""


class Dock(QScrollArea):
    """A column of controls that scrolls where the window is too low, bound to the state of one viewer.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        state: Shared state; that of the viewer by default.
    """

    def __init__(self, napari_viewer: Any, state: ViewerState | None = None) -> None:
        super().__init__()
        self.state = state or viewer_state_of(napari_viewer)
        inside = QWidget()
        self.column = QVBoxLayout(inside)
        self.column.setContentsMargins(8, 6, 8, 6)
        self.column.setSpacing(5)
        inside.installEventFilter(self)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.state.join()
        self._keys: list[tuple[str, Any, Any]] = []
        self._switches: list[list[Event]] = []
        # Nothing of this object may be used once it is destroyed: the link holds what outlives it only.
        self.destroyed.connect(partial(_end, self.state, self._keys, self._switches, id(self)))

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow what the controls need: napari's style and longer texts come after they were made."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.setMinimumWidth(self.minimumSizeHint().width())
        return bool(super().eventFilter(watched, event))

    def event(self, event: QEvent) -> bool:
        """Notice that the dock is closed: napari takes this widget out, but does not delete it."""
        if event.type() == QEvent.Type.ParentChange:
            _leaving[id(self)] = self
            QTimer.singleShot(0, self._delete_orphan)
        return bool(super().event(event))

    def minimumSizeHint(self) -> QSize:
        """Return a size at which nothing is cut off sideways, the vertical scroll bar included."""
        inside = self.widget().minimumSizeHint().width()
        # napari's style gives a frame of a pixel to an area that was made without one.
        around = self.verticalScrollBar().sizeHint().width() + 2 * self.frameWidth()
        return QSize(max(inside, MIN_WIDTH_PX) + around, 200)

    def sizeHint(self) -> QSize:
        """Return the size of all controls."""
        return QSize(self.minimumSizeHint().width(), self.widget().sizeHint().height())

    def _delete_orphan(self) -> None:
        if self.parent() is None:
            self.deleteLater()
        else:
            _leaving.pop(id(self), None)

    def button(self, text: str, hint: str) -> QPushButton:
        """Make a button that leaves the keyboard to the image."""
        button = QPushButton(text)
        button.setToolTip(hint)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return button

    def hold(self, *runners: JobRunner) -> None:
        """End the jobs of these runners with this dock."""
        self._switches += [runner.switch for runner in runners]

    def hold_key(self, name: str, run: Callable[[], object]) -> str:
        """Bind the user's key for an action (`Key.name`) to the viewer as long as this dock is there.

        Layers with a meaning of their own for it keep it.

        Returns:
            The key as it stands on the keyboard.
        """
        viewer = self.state.viewer
        choice = load_keys((viewer,))
        key = choice.key(name)
        before = viewer.bind_key(key, lambda _viewer: run(), overwrite=True)
        self._keys.append((key, viewer, before))
        return choice.shown(name)


def group(title: str, *widgets: QWidget) -> QGroupBox:
    """Put controls into a box with a title, one below the other."""
    box = QGroupBox(title)
    column = QVBoxLayout(box)
    column.setContentsMargins(6, 6, 6, 6)
    column.setSpacing(4)
    for widget in widgets:
        column.addWidget(widget)
    box.setAlignment(Qt.AlignmentFlag.AlignLeft)
    return box


def _end(
    state: ViewerState,
    keys: list[tuple[str, Any, Any]],
    switches: list[list[Event]],
    dock: int,
    _destroyed: object = None,
) -> None:
    _leaving.pop(dock, None)
    for switch in switches:
        switch[0].set()
    for key, viewer, before in reversed(keys):
        viewer.bind_key(key, None)
        if before is not None:
            viewer.bind_key(key, before)
    keys.clear()
    state.leave()
