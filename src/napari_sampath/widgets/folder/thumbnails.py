"""The images of a folder as small pictures, each with its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView, QListWidget, QListWidgetItem, QWidget

from ..train.comparison import pixmap_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ...arrays import UInt8Array
    from ...session import Entry, State

SIDE_PX = 72
_NAME = Qt.ItemDataRole.UserRole
_ROWS_SHOWN = 2
SIGNS: dict[State, str] = {"untouched": "", "in progress": "…", "done": "✓", "unsure": "?"}
COLORS: dict[State, str] = {
    "untouched": "#808080",
    "in progress": "#56b4e9",
    "done": "#009e73",
    "unsure": "#e69f00",
}
"""Colour of a picture's frame and sign; told apart by people who see red and green alike."""


class Thumbnails(QListWidget):
    """Shows images and which one is open; it opens none by itself."""

    chosen = Signal(str)
    """Wish: file name of an image to open."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._shown: dict[str, tuple[Entry, bool]] = {}
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setIconSize(QSize(SIDE_PX, SIDE_PX))
        cell = self._cell = QSize(SIDE_PX + 10, SIDE_PX + self.fontMetrics().lineSpacing() + 12)
        self.setGridSize(cell)
        self.setFixedHeight(_ROWS_SHOWN * cell.height() + 8)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setToolTip("Click an image to open it")
        self.itemClicked.connect(lambda item: self.chosen.emit(item.data(_NAME)))

    def show_entries(
        self, entries: Sequence[Entry], current: str, pictures: Mapping[str, UInt8Array]
    ) -> None:
        """Show images in order; what did not change is not painted again.

        Args:
            entries: The images.
            current: File name of the one that is open.
            pictures: File name -> pixels (h, w, 3) uint8, as far as they are there yet.
        """
        with QSignalBlocker(self):
            if [entry.path.name for entry in entries] != list(self._shown):
                self.clear()
                self._shown = {}
                for entry in entries:
                    item = QListWidgetItem()
                    item.setData(_NAME, entry.path.name)
                    item.setSizeHint(self._cell)  # all of it answers clicks
                    self.addItem(item)
            for row, entry in enumerate(entries):
                item, name = self.item(row), entry.path.name
                if self._shown.get(name) != (entry, name in pictures):
                    self._shown[name] = (entry, name in pictures)
                    self._paint(item, entry, pictures.get(name))
                if name == current and self.currentRow() != row:
                    self.setCurrentRow(row)
                    self.scrollToItem(item)

    def _paint(self, item: QListWidgetItem, entry: Entry, pixels: UInt8Array | None) -> None:
        color = QColor(COLORS[entry.state])
        pixmap = QPixmap(SIDE_PX, SIDE_PX)
        pixmap.fill(QColor(0, 0, 0, 0))
        painter = QPainter(pixmap)
        if pixels is not None:
            picture = pixmap_of(pixels, SIDE_PX - 6)
            painter.drawPixmap((SIDE_PX - picture.width()) // 2, (SIDE_PX - picture.height()) // 2, picture)
        pen = painter.pen()
        pen.setColor(color)
        pen.setWidth(3)
        painter.setPen(pen)
        painter.drawRect(1, 1, SIDE_PX - 3, SIDE_PX - 3)
        sign = SIGNS[entry.state]
        if sign:
            painter.fillRect(SIDE_PX - 21, SIDE_PX - 21, 19, 19, color)
            painter.setPen(QColor("white"))
            painter.drawText(
                SIDE_PX - 21, SIDE_PX - 21, 19, 19, int(Qt.AlignmentFlag.AlignCenter.value), sign
            )
        painter.end()
        item.setIcon(QIcon(pixmap))
        item.setText(entry.path.stem)
        doubt = "" if entry.uncertainty is None else f"; the head is {100 * entry.uncertainty:.0f} % unsure"
        item.setToolTip(f"{entry.path.name}: {entry.state}{doubt}")
