"""Non-modal questions that a dock shows until they are answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Choice:
    """A possible answer to a question."""

    text: str
    hint: str
    act: Callable[..., object] | None = None
    """Function that is called when the answer is chosen; None if there is nothing to do."""
    options: tuple[tuple[str, object], ...] = ()
    """(text, value) of each entry of a menu; `act` is called with the chosen value."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question and its possible answers."""

    text: str
    choices: tuple[Choice, ...]


class Questions(QObject):
    """Holds the current question; a new question replaces it."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.current: Question | None = None

    def ask(self, question: Question) -> None:
        """Show a question."""
        self.current = question
        self.changed.emit()

    def dismiss(self) -> bool:
        """Withdraw the question without an answer; return False if there is none."""
        if self.current is None:
            return False
        self.current = None
        self.changed.emit()
        return True

    def answer(self, choice: Choice, *value: object) -> None:
        """Withdraw the question and carry out the chosen answer."""
        self.dismiss()
        if choice.act is not None:
            choice.act(*value)
