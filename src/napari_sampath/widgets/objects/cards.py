"""Grid of cards: pictures of proposals that are accepted, rejected or marked as unsure with one key each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, Signal

from ...errors import SampathError
from ...session.objects.cards import card_pixels, to_review
from ..common.card_list import CARD_PX, CardList

if TYPE_CHECKING:
    from ...session import Session

COUNT = 24
"""Number of cards shown at once."""


class CardGrid(CardList):
    """Shows the proposals of a session, the most uncertain or least similar first; decided ones make room for others.

    The values of the cards are the ids of the objects.
    """

    failed = Signal(str)
    """Message for the user."""

    def __init__(self) -> None:
        super().__init__(
            "Cards of proposals",
            "A accepts the selected proposals, R rejects them, U marks them as unsure, 1 to 9 changes their class; "
            "click a card to see its place in the image",
        )
        self._session: Session | None = None
        self._class_id: int | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._show)

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
        return self.values

    def _show(self) -> None:
        """Remove the cards of decided objects, and fill up with the next proposals."""
        session = self._session
        if session is None:
            self.clear()
            return
        wanted = to_review(session.document, self._class_id)[:COUNT]
        row = self.currentRow()
        for index, object_id in reversed(list(enumerate(self.ids))):
            if object_id not in wanted:
                self.takeItem(index)
        for index, object_id in enumerate(wanted):
            if index >= self.count() or self.ids[index] != object_id:
                try:
                    self._insert(session, index, object_id)
                except SampathError as error:
                    self.failed.emit(str(error))
                    return
        self.keep_selection(row)

    def _insert(self, session: Session, index: int, object_id: int) -> None:
        record = session.document.record(object_id)
        pixels = card_pixels(session.image, session.document, object_id, CARD_PX)
        name = session.classes.by_id(record.class_id).name
        score = "" if record.score is None else f" {record.score:.2f}"
        self.insert_card(index, object_id, pixels, f"{name}{score}", f"Object {object_id}, {name}{score}")
