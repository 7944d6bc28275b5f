"""Questions that wait in a dock for an answer, without stopping anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer."""

    text: str
    hint: str
    act: Callable[..., object] | None = None
    """What it does; None leaves things as they are."""
    options: tuple[tuple[str, object], ...] = ()
    """If given, (text, value) of a menu; `act` is called with the value chosen."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the answers."""

    text: str
    choices: tuple[Choice, ...]


class Questions(QObject):
    """The one question that waits, if any; a new one takes its place."""

    changed = Signal()

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.current: Question | None = None

    def ask(self, question: Question) -> None:
        """Ask."""
        self.current = question
        self.changed.emit()

    def dismiss(self) -> bool:
        """Take the question back, unanswered; False if there is none."""
        if self.current is None:
            return False
        self.current = None
        self.changed.emit()
        return True

    def answer(self, choice: Choice, *value: object) -> None:
        """Take an answer."""
        self.dismiss()
        if choice.act is not None:
            choice.act(*value)
