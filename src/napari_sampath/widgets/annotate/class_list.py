"""The list of classes with their colours; it shows what it is given and tells what the user wishes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPainter, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import ClassInfo

_ID = Qt.ItemDataRole.UserRole
_SWATCH_PX = 16
_ROWS_SHOWN = 3
_ARROW_PX = 26


class ClassListWidget(QWidget):
    """Classes to choose from, add, rename, recolour, put in order, merge and remove.

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
    moved = Signal(int, int)
    """Wish: class id, its new place in the order, 0 for the first."""
    merged = Signal(int, int)
    """Wish: class id that goes, class id that gets its objects."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._classes: tuple[ClassInfo, ...] = ()
        self.list = QListWidget()
        self.list.setIconSize(QSize(_SWATCH_PX, _SWATCH_PX))
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.list.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.list.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.list.setToolTip(
            "Click to draw with a class, or press its number. Double-click to rename it, drag it to another place."
        )
        row_px = max(self.list.fontMetrics().lineSpacing(), _SWATCH_PX) + 6
        self.list.setFixedHeight(_ROWS_SHOWN * row_px + 8)
        self._add_buttons()
        self.list.currentItemChanged.connect(self._on_current)
        self.list.itemChanged.connect(self._on_edited)
        self.add_button.clicked.connect(lambda: self.added.emit())
        self.rename_button.clicked.connect(self._on_rename)
        self.color_button.clicked.connect(self._on_color)
        self.remove_button.clicked.connect(self._on_remove)
        self.up_button.clicked.connect(lambda: self._move_by(-1))
        self.down_button.clicked.connect(lambda: self._move_by(1))
        self.merge_menu.aboutToShow.connect(self._list_targets)
        # Told when the list has let go of the mouse: it is rebuilt then.
        self.list.model().rowsMoved.connect(self._on_dragged, Qt.ConnectionType.QueuedConnection)

    def _add_buttons(self) -> None:
        arrows, buttons = QVBoxLayout(), QHBoxLayout()
        self.up_button = self._button("▲", "Move the chosen class up; number keys follow the order", arrows)
        self.down_button = self._button("▼", "Move the chosen class down", arrows)
        for arrow in (self.up_button, self.down_button):
            arrow.setFixedWidth(_ARROW_PX)
        arrows.addStretch(1)
        self.add_button = self._button("Add", "Add a class", buttons)
        self.rename_button = self._button("Rename", "Rename the chosen class", buttons)
        self.color_button = self._button("Colour", "Choose another colour for the chosen class", buttons)
        self.merge_button = self._button(
            "Merge", "Give all objects of the chosen class another class, and drop it", buttons
        )
        self.merge_menu = QMenu(self.merge_button)
        self.merge_button.setMenu(self.merge_menu)
        self.remove_button = self._button("Delete", "Delete the chosen class", buttons)
        upper = QHBoxLayout()
        upper.addWidget(self.list)
        upper.addLayout(arrows)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        for layout in (column, upper, arrows, buttons):
            layout.setSpacing(4)
        column.addLayout(upper)
        column.addLayout(buttons)

    def show_classes(self, classes: Sequence[ClassInfo], active_id: int) -> None:
        """Show classes in their order, the first nine with their number key."""
        self._classes = tuple(classes)
        with QSignalBlocker(self.list):
            self.list.clear()
            for number, info in enumerate(self._classes, start=1):
                item = QListWidgetItem(swatch(info.color, str(number) if number < 10 else ""), info.name)
                item.setData(_ID, info.id)
                # Nothing can be dropped on a class, only between two.
                item.setFlags((item.flags() | Qt.ItemFlag.ItemIsEditable) & ~Qt.ItemFlag.ItemIsDropEnabled)
                self.list.addItem(item)
                if info.id == active_id:
                    self.list.setCurrentItem(item)
        for button in (self.remove_button, self.merge_button):
            button.setEnabled(len(self._classes) > 1)
        self._show_ends()

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

    def _button(self, text: str, hint: str, row: QHBoxLayout | QVBoxLayout) -> QPushButton:
        button = QPushButton(text)
        button.setToolTip(hint)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        row.addWidget(button)
        return button

    def _current(self) -> ClassInfo | None:
        row = self.list.currentRow()
        return self._classes[row] if 0 <= row < len(self._classes) else None

    def _show_ends(self) -> None:
        row = self.list.currentRow()
        self.up_button.setEnabled(row > 0)
        self.down_button.setEnabled(0 <= row < len(self._classes) - 1)

    def _on_current(self, item: QListWidgetItem | None) -> None:
        self._show_ends()
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

    def _move_by(self, places: int) -> None:
        info = self._current()
        if info is not None:
            self.moved.emit(info.id, self.list.currentRow() + places)

    def _on_dragged(self) -> None:
        """Pass on what was dragged where; the list goes back to what is until `show_classes`."""
        order = [self.list.item(row).data(_ID) for row in range(self.list.count())]
        before = [info.id for info in self._classes]
        moved = next((one for one in before if _without(order, one) == _without(before, one)), None)
        info = self._current()
        self.show_classes(self._classes, 0 if info is None else info.id)
        if moved is not None and order != before:
            self.moved.emit(moved, order.index(moved))

    def _list_targets(self) -> None:
        self.merge_menu.clear()
        current = self._current()
        if current is None:
            return
        for info in self._classes:
            if info.id != current.id:
                self.merge_menu.addAction(
                    swatch(info.color), f"into {info.name}", partial(self.merged.emit, current.id, info.id)
                )


def _without(ids: list[int], one: int) -> list[int]:
    return [other for other in ids if other != one]


def swatch(color: tuple[int, int, int], text: str = "") -> QIcon:
    """Make a small square of a class colour, with a number or nothing in it."""
    pixmap = QPixmap(_SWATCH_PX, _SWATCH_PX)
    pixmap.fill(QColor(*color))
    painter = QPainter(pixmap)
    dark = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] < 140
    painter.setPen(QColor("white" if dark else "black"))
    painter.drawText(pixmap.rect(), Qt.AlignmentFlag.AlignCenter, text)
    painter.end()
    return QIcon(pixmap)
