"""The list of classes with their colours; it shows what it is given and tells what the user wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..arrays import ClassInfo

_ID = Qt.ItemDataRole.UserRole
_SWATCH_PX = 16
_ROWS_SHOWN = 4


class ClassListWidget(QWidget):
    """Classes to choose from, add, rename, recolour and remove.

    It never changes the classes by itself: it emits a wish, and whoever owns the classes calls
    `show_classes` with what came of it.
    """

    activated = Signal(int)
    """Wish: class id to draw with."""
    added = Signal()
    """Wish: one more class."""
    renamed = Signal(int, str)
    """Wish: class id, new name."""
    recolored = Signal(int, tuple)
    """Wish: class id, (red, green, blue)."""
    removed = Signal(int)
    """Wish: class id to remove."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._classes: tuple[ClassInfo, ...] = ()
        self.list = QListWidget()
        self.list.setIconSize(QSize(_SWATCH_PX, _SWATCH_PX))
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.setToolTip("Click to draw with a class, double-click to rename it.")
        row_px = max(self.list.fontMetrics().lineSpacing(), _SWATCH_PX) + 6
        self.list.setFixedHeight(_ROWS_SHOWN * row_px + 8)
        buttons = QHBoxLayout()
        buttons.setContentsMargins(0, 0, 0, 0)
        self.add_button = self._button("Add", "Add a class", buttons)
        self.rename_button = self._button("Rename", "Rename the chosen class", buttons)
        self.color_button = self._button("Colour", "Choose another colour for the chosen class", buttons)
        self.remove_button = self._button("Remove", "Remove the chosen class", buttons)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.list)
        column.addLayout(buttons)
        self.list.currentItemChanged.connect(self._on_current)
        self.list.itemChanged.connect(self._on_edited)
        self.add_button.clicked.connect(lambda: self.added.emit())
        self.rename_button.clicked.connect(self._on_rename)
        self.color_button.clicked.connect(self._on_color)
        self.remove_button.clicked.connect(self._on_remove)

    def show_classes(self, classes: Sequence[ClassInfo], active_id: int) -> None:
        """Show classes in their order, the first nine with their number key."""
        self._classes = tuple(classes)
        with QSignalBlocker(self.list):
            self.list.clear()
            for number, info in enumerate(self._classes, start=1):
                item = QListWidgetItem(_swatch(info.color, str(number) if number < 10 else ""), info.name)
                item.setData(_ID, info.id)
                item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
                self.list.addItem(item)
                if info.id == active_id:
                    self.list.setCurrentItem(item)
        self.remove_button.setEnabled(len(self._classes) > 1)

    def is_shown(self, classes: tuple[ClassInfo, ...], active_id: int) -> bool:
        """Say whether `show_classes` would change nothing; a name being edited then stays open."""
        info = self._current()
        return classes == self._classes and info is not None and info.id == active_id

    def edit(self, class_id: int) -> None:
        """Open the name of a class for typing."""
        for row, info in enumerate(self._classes):
            if info.id == class_id:
                self.list.setCurrentRow(row)
                self.list.editItem(self.list.item(row))

    def _button(self, text: str, hint: str, row: QHBoxLayout) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(hint)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        row.addWidget(button)
        return button

    def _current(self) -> ClassInfo | None:
        row = self.list.currentRow()
        return self._classes[row] if 0 <= row < len(self._classes) else None

    def _on_current(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self.activated.emit(item.data(_ID))

    def _on_edited(self, item: QListWidgetItem) -> None:
        info = next(info for info in self._classes if info.id == item.data(_ID))
        wish = item.text().strip()
        if wish == info.name:
            return
        with QSignalBlocker(self.list):
            item.setText(info.name)
        self.renamed.emit(info.id, wish)

    def _on_rename(self) -> None:
        info = self._current()
        if info is not None:
            self.edit(info.id)

    def _on_color(self) -> None:
        info = self._current()
        if info is None:
            return
        color = QColorDialog.getColor(QColor(*info.color), self, f"Colour of {info.name}")
        if color.isValid():
            self.recolored.emit(info.id, (color.red(), color.green(), color.blue()))

    def _on_remove(self) -> None:
        info = self._current()
        if info is not None:
            self.removed.emit(info.id)


def _swatch(color: tuple[int, int, int], text: str) -> QIcon:
    pixmap = QPixmap(_SWATCH_PX, _SWATCH_PX)
    pixmap.fill(QColor(*color))
    painter = QPainter(pixmap)
    dark = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] < 140
    painter.setPen(QColor("white" if dark else "black"))
    painter.drawText(pixmap.rect(), Qt.AlignmentFlag.AlignCenter, text)
    painter.end()
    return QIcon(pixmap)
