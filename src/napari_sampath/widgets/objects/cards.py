"""Grid of cards: pictures of proposals that are accepted, rejected or marked as unsure with one key each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QSize, Qt, QTimer, Signal
from qtpy.QtGui import QIcon, QKeyEvent, QKeySequence
from qtpy.QtWidgets import QAbstractItemView, QListView, QListWidget, QListWidgetItem

from ...errors import SampathError
from ...session.objects.cards import card_pixels, to_review
from ..common.pixmaps import thumbnail

if TYPE_CHECKING:
    from ...session import Session

CARD_PX = 84
"""Side of a card, in pixels of the screen."""
COUNT = 24
"""Number of cards shown at once."""
_ID = Qt.ItemDataRole.UserRole


class CardGrid(QListWidget):
    """Shows the proposals of a session, the most uncertain or least similar first; decided ones make room for others.

    Keys act on the selected cards: A accepts, R rejects, U marks as unsure, a digit changes the class.
    """

    decided = Signal(tuple, str)
    """Ids of the objects and the decision: "accept", "reject" or "unsure"."""
    class_chosen = Signal(tuple, int)
    """Ids of the objects and the position of the class in the class list, from 0."""
    place_requested = Signal(int)
    """Id of the object whose place in the image is to be shown."""
    failed = Signal(str)
    """Message for the user."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, Callable[[], object]] = {}
        """Key, in the notation of `table_view.qt_sequence` -> further action, such as undo."""
        self._session: Session | None = None
        self._class_id: int | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._show)
        self.setAccessibleName("Cards of proposals")
        self.setToolTip(
            "A accepts the selected proposals, R rejects them, U marks them as unsure, 1 to 9 changes their class; "
            "click a card to see its place in the image"
        )
        self.setViewMode(QListView.ViewMode.IconMode)
        self.setResizeMode(QListView.ResizeMode.Adjust)
        self.setMovement(QListView.Movement.Static)
        self.setUniformItemSizes(True)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setIconSize(QSize(CARD_PX, CARD_PX))
        self.setGridSize(QSize(CARD_PX + 6, CARD_PX + 22))
        self.setMinimumHeight(2 * (CARD_PX + 22))
        self.itemClicked.connect(lambda item: self.place_requested.emit(item.data(_ID)))

    def use(self, session: Session | None, class_id: int | None = None) -> None:
        """Show the proposals of a session, only those of a class if it is given."""
        self._session, self._class_id = session, class_id
        self.clear()
        self._show()

    def refresh(self) -> None:
        """Show the changed proposals soon, once for any number of calls."""
        if self.isVisible():
            self._timer.start()

    @property
    def ids(self) -> list[int]:
        """Ids of the objects on the cards, in order."""
        return [self.item(row).data(_ID) for row in range(self.count())]

    def selected(self) -> tuple[int, ...]:
        """Return the ids of the selected cards, or of the first card if none is selected."""
        chosen = tuple(item.data(_ID) for item in self.selectedItems())
        return chosen or tuple(self.ids[:1])

    def _show(self) -> None:
        """Remove the cards of decided objects, and fill up with the next proposals."""
        session = self._session
        if session is None:
            self.clear()
            return
        wanted = to_review(session.document, self._class_id)[:COUNT]
        row = max(0, self.currentRow())
        for index in reversed(range(self.count())):
            if self.item(index).data(_ID) not in wanted:
                self.takeItem(index)
        for index, object_id in enumerate(wanted):
            if index >= self.count() or self.item(index).data(_ID) != object_id:
                try:
                    self.insertItem(index, self._card(session, object_id))
                except SampathError as error:
                    self.failed.emit(str(error))
                    return
        if self.count() and not self.selectedItems():
            self.setCurrentRow(min(row, self.count() - 1))

    def _card(self, session: Session, object_id: int) -> QListWidgetItem:
        record = session.document.record(object_id)
        picture = thumbnail(card_pixels(session.image, session.document, object_id, CARD_PX), CARD_PX)
        name = session.classes.by_id(record.class_id).name
        score = "" if record.score is None else f" {record.score:.2f}"
        item = QListWidgetItem(QIcon(picture), f"{name}{score}")
        item.setData(_ID, object_id)
        item.setToolTip(f"Object {object_id}, {name}{score}")
        return item

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
        ids = self.selected()
        if ids:
            signal.emit(ids, value)
