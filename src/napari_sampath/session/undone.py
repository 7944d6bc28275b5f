"""Changes that were undone before they were made, for redo."""

from __future__ import annotations

from typing import Generic, TypeVar

from ..annotations import History

T = TypeVar("T")


class UndoneItems(Generic[T]):
    """Stack of the items that undo removed from a queue; a newer step of the history makes their redo impossible.

    Args:
        history: Undo history of the document.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._items: list[T] = []
        self._at = 0
        """`History.pushed` at the last undo."""

    def add(self, item: T) -> None:
        """Keep an item that undo has removed."""
        if self._at != self._history.pushed:
            self._items.clear()
        self._at = self._history.pushed
        self._items.append(item)

    def take(self) -> T | None:
        """Return the item that was undone last, for redo; None if there is none."""
        return self._items.pop() if self._items and self._at == self._history.pushed else None

    def forget(self) -> None:
        """Forget all items and the undone steps of the history, because the user has made another change."""
        self._items.clear()
        self._history.forget_undone()
