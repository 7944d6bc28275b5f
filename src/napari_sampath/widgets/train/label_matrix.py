"""Confusion matrix of the labels of a dataset and the classes that heads predict for them."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from ..common.controls import plain_tooltip
from ..common.pixmaps import swatch
from .label_jobs import LabelCheck

ROW_PX = 22
MAX_ROWS = 6
"""Number of rows of the matrix that are visible without scrolling."""
MATRIX_HINT = (
    "Rows: your label, columns: what the other images suggest; 'background' in a row: an object may be missing, in a "
    "column: there may be no object. Click a number to see its cards."
)


class LabelMatrix(QTableWidget):
    """Confusion matrix: number of labels of each class and predicted class."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[str] = []
        self.setAccessibleName("Confusion matrix of the labels")
        self.setToolTip(MATRIX_HINT)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setTabKeyNavigation(False)
        for header in (self.horizontalHeader(), self.verticalHeader()):
            header.setSectionsClickable(False)
        self.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.horizontalHeader().setMinimumSectionSize(36)
        self.horizontalHeader().setDefaultAlignment(
            Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        )
        self.horizontalHeader().setTextElideMode(Qt.TextElideMode.ElideRight)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.verticalHeader().setDefaultSectionSize(ROW_PX)

    @property
    def cell(self) -> tuple[str, str] | None:
        """Label and predicted class of the selected cell; None if no cell is selected."""
        items = self.selectedItems()
        return (self._names[items[0].row()], self._names[items[0].column()]) if items else None

    def show_counts(self, names: list[str], check: LabelCheck) -> None:
        """Show the number of labels in each cell."""
        self._names = names
        with QSignalBlocker(self):
            self.clear()
            self.setRowCount(len(names))
            self.setColumnCount(len(names))
            for index, info in enumerate(check.classes):
                for set_header in (self.setHorizontalHeaderItem, self.setVerticalHeaderItem):
                    item = QTableWidgetItem(swatch(info.color), info.name)
                    item.setToolTip(plain_tooltip(info.name))
                    set_header(index, item)
                for column_, predicted in enumerate(names):
                    count = len(check.confusion.get((info.name, predicted), ()))
                    cell = QTableWidgetItem(f"{count:,}" if count else "")
                    cell.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                    cell.setToolTip(plain_tooltip(describe_cell(info.name, predicted)))
                    if not count:
                        cell.setFlags(Qt.ItemFlag.NoItemFlags)
                    self.setItem(index, column_, cell)
        self.setFixedHeight(
            self.horizontalHeader().sizeHint().height() + ROW_PX * min(len(names), MAX_ROWS) + 4
        )


def describe_cell(label_name: str, predicted: str) -> str:
    """Describe the labels of a cell."""
    if label_name == predicted:
        return f"Labelled '{label_name}', and the other images agree"
    return f"Labelled '{label_name}', the other images suggest '{predicted}'"
