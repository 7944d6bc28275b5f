"""Grid of cards: pictures of objects, each with keys for a decision."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from qtpy.QtCore import QEvent, QSize, Qt, Signal
from qtpy.QtGui import QIcon, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QListView, QListWidget, QListWidgetItem

from ...arrays import UInt8Array
from .controls import plain_tooltip
from .pixmaps import thumbnail

CARD_PX = 84
"""Side of a card, in pixels of the screen."""
_VALUE = Qt.ItemDataRole.UserRole


class CardList(QListWidget):
    """Shows cards, each of which has a value, such as the id of an object.

    Keys act on the selected cards: A accepts, R rejects, U marks as unsure, a digit chooses a class.
    """

    decided = Signal(tuple, str)
    """Values of the cards and the decision: "accept", "reject" or "unsure"."""
    class_chosen = Signal(tuple, int)
    """Values of the cards and the position of the class in the class list, from 0."""
    place_requested = Signal(object)
    """Value of the card whose place in the image is to be shown."""

    def __init__(self, name: str, tooltip: str) -> None:
        super().__init__()
        self.keys: dict[str, Callable[[], object]] = {}
        """Key, as `QKeySequence` writes it -> further action, such as undo."""
        self.setAccessibleName(name)
        self.setToolTip(tooltip)
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setIconSize(QSize(CARD_PX, CARD_PX))
        self.setGridSize(QSize(CARD_PX + 6, CARD_PX + 22))
        self.setMinimumHeight(2 * (CARD_PX + 22))
        self.itemClicked.connect(lambda item: self.place_requested.emit(item.data(_VALUE)))

    @property
    def values(self) -> list[Any]:
        """Values of the cards, in order."""
        return [self.item(row).data(_VALUE) for row in range(self.count())]

    def selected(self) -> tuple[Any, ...]:
        """Return the values of the selected cards, or of the first card if none is selected."""
        chosen = tuple(item.data(_VALUE) for item in self.selectedItems())
        return chosen or tuple(self.values[:1])

    def insert_card(self, index: int, value: object, pixels: UInt8Array, text: str, tooltip: str) -> None:
        """Insert a card with a picture (H, W, 3) uint8."""
        picture = thumbnail(pixels, CARD_PX)
        icon = QIcon(picture)
        icon.addPixmap(picture, QIcon.Mode.Selected)  # Otherwise Qt tints the picture of a selected card.
        item = QListWidgetItem(icon, text)
        item.setData(_VALUE, value)
        item.setToolTip(plain_tooltip(tooltip))
        self.insertItem(index, item)

    def keep_selection(self, row: int) -> None:
        """Select the card in a row, or the last card, if none is selected."""
        if self.count() and not self.selectedItems():
            self.setCurrentRow(min(max(0, row), self.count() - 1))

    def event(self, event: QEvent | None) -> bool:
        """Accept the keys of the cards before they trigger a shortcut."""
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.ShortcutOverride
            and self._action(event)
        ):
            event.accept()
            return True
        return bool(super().event(event))

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Decide on the selected cards."""
        action = None if event is None else self._action(event)
        if action is None:
            super().keyPressEvent(event)
        else:
            action()

    def _action(self, event: QKeyEvent) -> Callable[[], object] | None:
        pressed = str(QKeySequence(event.keyCombination()).toString())
        decision = {"A": "accept", "R": "reject", "U": "unsure"}.get(pressed)
        if decision is not None:
            return partial(self._emit, self.decided, decision)
        if len(pressed) == 1 and pressed in "123456789":
            return partial(self._emit, self.class_chosen, int(pressed) - 1)
        return self.keys.get(pressed)

    def _emit(self, signal: Signal, value: object) -> None:
        values = self.selected()
        if values:
            signal.emit(values, value)
