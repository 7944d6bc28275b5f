"""View of the table of objects, with keys that act on the selected rows."""

from __future__ import annotations

from collections.abc import Callable

from app_model.backends.qt import QKeyBindingSequence
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QTableView

from .table import HEADINGS, ObjectTable

ROW_PX = 22
MIN_COLUMN_PX = 28
WIDTHS_PX = (106, 58, 64, 46, 30, 30, 88, 90, 92, 40)
"""Initial width of each column in pixels."""
CHECK_MARKS = (
    "QTableView::indicator { width: 12px; height: 12px; border: 1px solid #8a8f99; border-radius: 2px; }"
    "QTableView::indicator:checked { background: #3d7bff; border-color: #3d7bff; }"
)
"""Style sheet of the check boxes; those of napari are hardly visible in a dark table."""


class ObjectTableView(QTableView):
    """Shows an `ObjectTable`."""

    def __init__(self, table: ObjectTable) -> None:
        super().__init__()
        self.keys: dict[str, Callable[[], object]] = {}
        """Key, in the notation of `qt_sequence` -> action while the table has keyboard focus."""
        self.setModel(table)
        self.setAccessibleName("Objects")
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.setStyleSheet(CHECK_MARKS)
        self.setWordWrap(False)
        self.setMinimumHeight(6 * ROW_PX)
        self.verticalHeader().setVisible(False)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)
        self.horizontalHeader().setMinimumSectionSize(MIN_COLUMN_PX)
        self.horizontalHeader().setSortIndicator(len(HEADINGS) - 1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        for column, width in enumerate(WIDTHS_PX):
            self.setColumnWidth(column, width)

    def event(self, event: QEvent | None) -> bool:
        """Accept the keys of the table before they trigger a menu shortcut."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.ShortcutOverride
            and _pressed(event) in self.keys
        ):
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Run the action that is bound to the key."""
        action = None if event is None else self.keys.get(_pressed(event))
        if action is None:
            super().keyPressEvent(event)
        else:
            action()


def qt_sequence(key: str) -> str:
    """Convert a key from napari's notation to Qt's."""
    return str(QKeyBindingSequence(coerce_keybinding(key)).toString())


def _pressed(event: QKeyEvent) -> str:
    return str(QKeySequence(event.keyCombination()).toString())
