"""Deletion of widgets that napari removed from its window."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer

_removed: dict[int, QObject] = {}
"""Widgets that were removed from their window, kept until Qt has deleted them."""


class Removable:
    """Mixin of a widget that deletes itself after it was removed, because napari only removes it from the window."""

    def event(self, event: QEvent) -> bool:
        """Delete the widget if it has no parent any more."""
        if event.type() == QEvent.Type.ParentChange:
            widget: Any = self
            _removed[id(self)] = widget
            QTimer.singleShot(0, self._delete_orphan)
        return bool(super().event(event))  # type: ignore[misc]

    def _delete_orphan(self) -> None:
        widget: Any = self
        if widget.parent() is None:
            widget.deleteLater()
        else:
            forget(id(self))


def forget(key: int) -> None:
    """Release a widget with an id after Qt deleted it or put it into another window."""
    _removed.pop(key, None)
