"""The view of the table of objects: rows to choose from, and keys that act on the chosen ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_model.backends.qt import QKeyBindingSequence
from napari.utils.key_bindings import coerce_keybinding
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QTableView

from .table import HEADINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from .table import ObjectTable

ROW_PX = 22
LEAST_COLUMN_PX = 28
WIDTHS_PX = (106, 58, 64, 46, 30, 30, 88, 90, 92, 40)
"""First widths of the columns."""
TICKS = (
    "QTableView::indicator { width: 12px; height: 12px; border: 1px solid #8a8f99; border-radius: 2px; }"
    "QTableView::indicator:checked { background: #3d7bff; border-color: #3d7bff; }"
)
"""napari's own are hardly seen in a table with a dark theme."""


class ObjectView(QTableView):
    """Shows an `ObjectTable`.

    Args:
        table: The table.
    """

    def __init__(self, table: ObjectTable) -> None:
        super().__init__()
        self.keys: dict[str, Callable[[], object]] = {}
        """Key, as `sequence` writes it -> what it does while this has the keyboard."""
        self.setModel(table)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setShowGrid(False)
        self.setStyleSheet(TICKS)
        self.setWordWrap(False)
        self.setMinimumHeight(6 * ROW_PX)
        rows, columns = self.verticalHeader(), self.horizontalHeader()
        if rows is not None and columns is not None:
            rows.setVisible(False)
            rows.setDefaultSectionSize(ROW_PX)
            columns.setMinimumSectionSize(LEAST_COLUMN_PX)
            columns.setSortIndicator(len(HEADINGS) - 1, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)
        for place, width in enumerate(WIDTHS_PX):
            self.setColumnWidth(place, width)

    def event(self, event: QEvent | None) -> bool:
        """Claim the keys that mean something here before any menu does."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.ShortcutOverride
            and pressed(event) in self.keys
        ):
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Do what the key means here."""
        act = None if event is None else self.keys.get(pressed(event))
        if act is None:
            super().keyPressEvent(event)
        else:
            act()


def sequence(key: str) -> str:
    """Write a key in napari's notation as Qt does."""
    return str(QKeyBindingSequence(coerce_keybinding(key)).toString())


def pressed(event: QKeyEvent) -> str:
    """Return the key of an event as Qt writes it."""
    return str(QKeySequence(event.keyCombination()).toString())
