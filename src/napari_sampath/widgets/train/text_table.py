"""A small table of labels, with class colours in the first column."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from ..common.controls import delete_widgets, label
from ..common.pixmaps import swatch

Row = tuple[tuple[int, int, int] | None, Sequence[str]]
"""Class colour (red, green, blue) or None, and the text of each column."""


class TextTable(QWidget):
    """Shows rows of text; all columns but the first are aligned to the right."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: Sequence[Row] = ()
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setHorizontalSpacing(8)
        self._grid.setVerticalSpacing(2)

    def text(self) -> str:
        """Return all texts in reading order, separated by spaces."""
        return " ".join(text for _, texts in self._rows for text in texts if text)

    def show_rows(self, rows: Sequence[Row]) -> None:
        """Replace the rows."""
        if rows == self._rows:
            return
        delete_widgets(self._grid)
        self._rows = rows
        for number, (color, texts) in enumerate(rows):
            if color is not None:
                square = QLabel()
                square.setPixmap(swatch(color).pixmap(10, 10))
                self._grid.addWidget(square, number, 0)
            for index, text in enumerate(texts):
                cell = label(text)
                if index:
                    cell.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self._grid.addWidget(cell, number, index + 1)
        self._grid.setColumnStretch(9, 1)  # To the right of the last column.
