"""Thumbnails of the images of a folder, each with its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QPoint, QSignalBlocker, QSize, Qt, Signal
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

MEMBER, OUTSIDE_TRAINING = "#0072b2", "#606060"
"""Colours of the marks of images in the project, inside and outside the training set."""


class Thumbnails(QListWidget):
    """Shows the images of a folder and which of them is open."""

    image_selected = Signal(str)
    """Emitted with the file name of the image that the user clicked."""

    menu_requested = Signal(str, object)
    """Emitted with the file name of the image under the mouse and the position (`QPoint`) on the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._shown: dict[str, tuple[Entry, bool, bool | None]] = {}
        """File name -> (entry, whether its thumbnail was loaded, membership), as last painted."""
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._on_menu)
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
        self.setToolTip("Click an image to open it; right-click to add it to the project or remove it")
        self.setAccessibleName("Images of the folder")
        self.itemClicked.connect(lambda item: self.image_selected.emit(item.data(_NAME)))

    def show_entries(
        self,
        entries: Sequence[Entry],
        current: str,
        pixels: Mapping[str, UInt8Array],
        members: Mapping[str, bool] | None = None,
    ) -> None:
        """Show images in this order and select `current`; only changed entries are painted again.

        Args:
            entries: The images.
            current: File name of the open image.
            pixels: File name -> loaded thumbnail (h, w, 3) uint8.
            members: File name of each image in the open project -> whether it is in the training set.
        """
        members = members or {}
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
                shown = (entry, name in pixels, members.get(name))
                if self._shown.get(name) != shown:
                    self._shown[name] = shown
                    self._paint(item, entry, pixels.get(name), members.get(name))
                if name == current and self.currentRow() != row:
                    self.setCurrentRow(row)
                    self.scrollToItem(item)

    def _on_menu(self, position: QPoint) -> None:
        item = self.itemAt(position)
        if item is not None:
            self.menu_requested.emit(item.data(_NAME), self.viewport().mapToGlobal(position))

    def _paint(
        self, item: QListWidgetItem, entry: Entry, pixels: UInt8Array | None, in_training: bool | None
    ) -> None:
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
        if in_training is not None:
            corner = (3, 3, 19, 19)
            painter.fillRect(*corner, QColor(MEMBER if in_training else OUTSIDE_TRAINING))
            painter.setPen(QColor("white"))
            painter.drawText(*corner, int(Qt.AlignmentFlag.AlignCenter.value), "T" if in_training else "P")
        painter.end()
        item.setIcon(QIcon(pixmap))
        item.setText(entry.path.stem)
        uncertainty = entry.uncertainty
        text = "" if uncertainty is None else f"; head uncertainty: {100 * uncertainty:.0f} %"
        place = {
            None: "",
            True: "; in the training set (T)",
            False: "; in the project, not in the training set (P)",
        }
        item.setToolTip(plain_tooltip(f"{entry.path.name}: {entry.state}{text}{place[in_training]}"))
