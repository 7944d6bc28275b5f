"""List of classes with their colours, and the buttons that edit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import (
    QAbstractItemView,
    QColorDialog,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QSizePolicy,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QWidget,
)

from ...arrays import ClassInfo
from ..common.controls import button, column, row
from ..common.pixmaps import SWATCH_PX, swatch

_ID = Qt.ItemDataRole.UserRole
_COUNT = Qt.ItemDataRole.UserRole + 1
_ROWS_SHOWN = 3
_LEAST_ROWS_SHOWN = 1
_ARROW_PX = 26


class _CountDelegate(QStyledItemDelegate):
    """Draws the number of objects of a class at the right of its row."""

    def paint(self, painter: Any, option: QStyleOptionViewItem, index: Any) -> None:
        """Draw the row, then the number."""
        super().paint(painter, option, index)
        count = index.data(_COUNT)
        if count is not None:
            painter.save()
            painter.setPen(option.palette.color(QPalette.ColorRole.PlaceholderText))
            box = option.rect.adjusted(0, 0, -6, 0)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, f"{count:,}")
            painter.restore()


class _Rows(QListWidget):
    """A list that shows a few rows, and fewer where a message above or below it needs the height."""

    def sizeHint(self) -> QSize:
        """Return a height of `_ROWS_SHOWN` rows."""
        return QSize(super().sizeHint().width(), self._height(_ROWS_SHOWN))

    def minimumSizeHint(self) -> QSize:
        """Return a height of `_LEAST_ROWS_SHOWN` rows."""
        return QSize(super().minimumSizeHint().width(), self._height(_LEAST_ROWS_SHOWN))

    @property
    def row_px(self) -> int:
        """Height of a row."""
        return int(max(self.fontMetrics().lineSpacing(), SWATCH_PX)) + 6

    def _height(self, rows: int) -> int:
        return rows * self.row_px + 8


class ClassListWidget(QWidget):
    """List in which the user can select, add, rename, recolour, reorder, merge and delete classes.

    The widget never changes the classes itself: it emits a request, and the owner of the classes calls `show_classes`
    with the result.
    """

    class_selected = Signal(int)
    """Id of the class selected for new objects."""
    add_requested = Signal()
    rename_requested = Signal(int, str)
    """Class id and new name."""
    _renamed = Signal(int, str)
    recolor_requested = Signal(int, tuple)
    """Class id and new colour (red, green, blue), each 0..255."""
    delete_requested = Signal(int)
    """Id of the class to delete."""
    move_requested = Signal(int, int)
    """Class id and its new position in the list."""
    editing_finished = Signal()
    """Emitted when the user has clicked a class, or has finished or cancelled editing a name."""
    merge_requested = Signal(int, int)
    """Id of the class to delete, and id of the class that gets its objects."""

    def __init__(self) -> None:
        super().__init__()
        self._classes: tuple[ClassInfo, ...] = ()
        self._renamed.connect(self.rename_requested, Qt.ConnectionType.QueuedConnection)
        self.list = _Rows()
        self.list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        self.list.setIconSize(QSize(SWATCH_PX, SWATCH_PX))
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.DoubleClicked)
        self.list.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.list.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.list.setItemDelegate(_CountDelegate(self.list))
        self.list.itemDelegate().closeEditor.connect(self._on_editor_closed)
        self.list.setAccessibleName("Classes")
        self.list.setToolTip(
            "Click a class, or press its number, to draw with it. Double-click to rename it, drag to reorder."
        )
        self._add_buttons()
        self.list.currentItemChanged.connect(self._on_current)
        self.list.clicked.connect(self._on_editor_closed)
        self.list.itemChanged.connect(self._on_edited)
        # Queued, because the handler rebuilds the list, which must not happen during the drop.
        self.list.model().rowsMoved.connect(self._on_dragged, Qt.ConnectionType.QueuedConnection)

    def _add_buttons(self) -> None:
        self.up_button = button(
            "▲", "Move the class up; its number key changes too", partial(self._move_by, -1)
        )
        self.down_button = button(
            "▼", "Move the class down; its number key changes too", partial(self._move_by, 1)
        )
        for arrow in (self.up_button, self.down_button):
            arrow.setFixedSize(_ARROW_PX, self.list.row_px)
        self.add_button = button("Add", "Add a class", self.add_requested.emit)
        self.rename_button = button("Rename", "Rename the selected class", self._on_rename)
        self.color_button = button("Colour", "Change the colour of the selected class", self._on_color)
        self.merge_button = button("Merge", "Move all objects to another class and delete this one")
        self.merge_menu = QMenu(self.merge_button)
        self.merge_menu.aboutToShow.connect(self._list_merge_targets)
        self.merge_button.setMenu(self.merge_menu)
        self.delete_button = button("Delete", "Delete the selected class", self._on_delete)
        arrows = column(row(self.up_button, self.down_button))
        arrows.addStretch(1)
        column(
            row(self.list, arrows),
            row(
                self.add_button, self.rename_button, self.color_button, self.merge_button, self.delete_button
            ),
            parent=self,
        )

    def show_classes(self, classes: Sequence[ClassInfo], active_id: int) -> None:
        """Show classes in their order, the first nine with their number keys."""
        self._classes = tuple(classes)
        with QSignalBlocker(self.list):
            self.list.clear()
            for number, info in enumerate(self._classes, start=1):
                item = QListWidgetItem(swatch(info.color, str(number) if number < 10 else ""), info.name)
                item.setData(_ID, info.id)
                # A class can be dropped between two others, but not onto another.
                item.setFlags((item.flags() | Qt.ItemFlag.ItemIsEditable) & ~Qt.ItemFlag.ItemIsDropEnabled)
                self.list.addItem(item)
                if info.id == active_id:
                    self.list.setCurrentItem(item)
        for widget in (self.delete_button, self.merge_button):
            widget.setEnabled(len(self._classes) > 1)
        self._enable_arrows()

    def show_counts(self, counts: Mapping[int, int]) -> None:
        """Show the number of objects of each class id at the right of its row."""
        with QSignalBlocker(self.list.model()):
            for index in range(self.list.count()):
                item = self.list.item(index)
                item.setData(_COUNT, counts.get(item.data(_ID), 0))
        self.list.viewport().update()

    def is_shown(self, classes: tuple[ClassInfo, ...], active_id: int) -> bool:
        """Return whether these classes are shown already, so that an open name editor can stay open."""
        info = self._current()
        return classes == self._classes and info is not None and info.id == active_id

    def edit(self, class_id: int) -> None:
        """Start editing the name of a class."""
        for index, info in enumerate(self._classes):
            if info.id == class_id:
                self.list.setCurrentRow(index)
                self.list.editItem(self.list.item(index))

    def _current(self) -> ClassInfo | None:
        index = self.list.currentRow()
        return self._classes[index] if 0 <= index < len(self._classes) else None

    def _enable_arrows(self) -> None:
        index = self.list.currentRow()
        self.up_button.setEnabled(index > 0)
        self.down_button.setEnabled(0 <= index < len(self._classes) - 1)

    def _on_current(self, item: QListWidgetItem | None) -> None:
        self._enable_arrows()
        if item is not None:
            self.class_selected.emit(item.data(_ID))

    def _on_edited(self, item: QListWidgetItem) -> None:
        info = next(info for info in self._classes if info.id == item.data(_ID))
        name = item.text().strip()
        if name == info.name:
            return
        with QSignalBlocker(self.list):
            item.setText(info.name)
        # The handler rebuilds the list, which must not happen before the view has closed its editor.
        self._renamed.emit(info.id, name)

    def _on_editor_closed(self, *_: object) -> None:
        self.editing_finished.emit()

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
            self.recolor_requested.emit(info.id, (color.red(), color.green(), color.blue()))

    def _on_delete(self) -> None:
        info = self._current()
        if info is not None:
            self.delete_requested.emit(info.id)

    def _move_by(self, rows: int) -> None:
        info = self._current()
        if info is not None:
            self.move_requested.emit(info.id, self.list.currentRow() + rows)

    def _on_dragged(self) -> None:
        """Request the new order; the list shows the old order until `show_classes` is called."""
        order = [self.list.item(index).data(_ID) for index in range(self.list.count())]
        before = [info.id for info in self._classes]
        moved = next((id_ for id_ in before if _without(order, id_) == _without(before, id_)), None)
        info = self._current()
        self.show_classes(self._classes, 0 if info is None else info.id)
        if moved is not None and order != before:
            self.move_requested.emit(moved, order.index(moved))

    def _list_merge_targets(self) -> None:
        self.merge_menu.clear()
        current = self._current()
        if current is None:
            return
        for info in self._classes:
            if info.id != current.id:
                merge = partial(self.merge_requested.emit, current.id, info.id)
                self.merge_menu.addAction(swatch(info.color), f"into {info.name}", merge)


def _without(ids: list[int], removed: int) -> list[int]:
    return [class_id for class_id in ids if class_id != removed]
