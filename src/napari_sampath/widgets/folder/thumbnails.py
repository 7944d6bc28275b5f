"""Thumbnails of the images of a folder, each with its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QListView, QListWidget, QListWidgetItem

from ...arrays import UInt8Array
from ...session import Entry, State
from ..common.controls import plain_tooltip
from ..common.pixmaps import thumbnail

SIDE_PX = 72
_NAME = Qt.ItemDataRole.UserRole
_ROWS_SHOWN = 2
STYLES: dict[State, tuple[str, str]] = {
    "untouched": ("", "#808080"),
    "in progress": ("…", "#56b4e9"),
    "done": ("✓", "#009e73"),
    "unsure": ("?", "#e69f00"),
}
"""State -> symbol and frame colour, which people with red-green colour blindness can distinguish."""


class Thumbnails(QListWidget):
    """Shows the images of a folder and which of them is open."""

    image_selected = Signal(str)
    """Emitted with the file name of the image that the user clicked."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, tuple[Entry, bool]] = {}
        """File name -> (entry, whether its thumbnail was loaded), as last painted."""
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setMovement(QListView.Movement.Static)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.setIconSize(QSize(SIDE_PX, SIDE_PX))
        self._cell = QSize(SIDE_PX + 10, SIDE_PX + self.fontMetrics().lineSpacing() + 12)
        self.setGridSize(self._cell)
        self.setFixedHeight(_ROWS_SHOWN * self._cell.height() + 8)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setToolTip("Click an image to open it")
        self.setAccessibleName("Images of the folder")
        self.itemClicked.connect(lambda item: self.image_selected.emit(item.data(_NAME)))

    def show_entries(self, entries: Sequence[Entry], current: str, pixels: Mapping[str, UInt8Array]) -> None:
        """Show images in this order and select `current`; only changed entries are painted again.

        `pixels` maps file names to loaded thumbnails (h, w, 3) uint8.
        """
        with QSignalBlocker(self):
            if [entry.path.name for entry in entries] != list(self._shown):
                self.clear()
                self._shown = {}
                for entry in entries:
                    item = QListWidgetItem()
                    item.setData(_NAME, entry.path.name)
                    item.setSizeHint(self._cell)  # Makes the whole cell clickable.
                    self.addItem(item)
            for row, entry in enumerate(entries):
                item, name = self.item(row), entry.path.name
                if self._shown.get(name) != (entry, name in pixels):
                    self._shown[name] = (entry, name in pixels)
                    self._paint(item, entry, pixels.get(name))
                if name == current and self.currentRow() != row:
                    self.setCurrentRow(row)
                    self.scrollToItem(item)

    def _paint(self, item: QListWidgetItem, entry: Entry, pixels: UInt8Array | None) -> None:
        sign, color = STYLES[entry.state][0], QColor(STYLES[entry.state][1])
        pixmap = QPixmap(SIDE_PX, SIDE_PX)
        pixmap.fill(QColor(0, 0, 0, 0))
        painter = QPainter(pixmap)
        if pixels is not None:
            image = thumbnail(pixels, SIDE_PX - 6)
            painter.drawPixmap((SIDE_PX - image.width()) // 2, (SIDE_PX - image.height()) // 2, image)
        pen = painter.pen()
        pen.setColor(color)
        pen.setWidth(3)
        painter.setPen(pen)
        painter.drawRect(1, 1, SIDE_PX - 3, SIDE_PX - 3)
        if sign:
            corner = (SIDE_PX - 21, SIDE_PX - 21, 19, 19)
            painter.fillRect(*corner, color)
            painter.setPen(QColor("white"))
            painter.drawText(*corner, int(Qt.AlignmentFlag.AlignCenter.value), sign)
        painter.end()
        item.setIcon(QIcon(pixmap))
        item.setText(entry.path.stem)
        uncertainty = entry.uncertainty
        text = "" if uncertainty is None else f"; head uncertainty: {100 * uncertainty:.0f} %"
        item.setToolTip(plain_tooltip(f"{entry.path.name}: {entry.state}{text}"))
