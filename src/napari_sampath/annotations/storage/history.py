"""Undo and redo in bounded memory."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from ..model.patch import Patch

MAX_STEPS = 200
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One thing a person did."""

    number: int
    """Its number in the journal."""
    patch: Patch
    label: str
    """In the user's words, to follow "Undid"."""


class History:
    """The last steps done, and those undone since.

    The oldest steps are forgotten when there are too many or they take too much memory; the newest is always
    kept, however large, since it is the one a person regrets.

    Args:
        max_steps: Number of steps kept.
        max_bytes: Memory that their patches may take.
    """

    def __init__(self, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES) -> None:
        self.max_steps = max_steps
        self.max_bytes = max_bytes
        self._done: deque[Step] = deque()
        self._undone: list[Step] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._done)

    @property
    def nbytes(self) -> int:
        """Memory that the patches take, about; those that can be redone included."""
        return self._bytes

    @property
    def done(self) -> tuple[Step, ...]:
        """The steps that can be undone, oldest first."""
        return tuple(self._done)

    @property
    def undone(self) -> tuple[Step, ...]:
        """The steps that can be redone, the next one last."""
        return tuple(self._undone)

    @property
    def last(self) -> Step | None:
        """The step that undo would take back."""
        return self._done[-1] if self._done else None

    @property
    def next(self) -> Step | None:
        """The step that redo would do again."""
        return self._undone[-1] if self._undone else None

    def push(self, step: Step) -> None:
        """Add a step that was done; what had been undone is forgotten."""
        self._bytes += step.patch.nbytes - sum(undone.patch.nbytes for undone in self._undone)
        self._undone.clear()
        self._done.append(step)
        while len(self._done) > 1 and (len(self._done) > self.max_steps or self._bytes > self.max_bytes):
            self._bytes -= self._done.popleft().patch.nbytes

    def undo(self) -> Step | None:
        """Move the last step to those that can be redone."""
        if not self._done:
            return None
        self._undone.append(self._done.pop())
        return self._undone[-1]

    def redo(self) -> Step | None:
        """Move the next step back to those done."""
        if not self._undone:
            return None
        self._done.append(self._undone.pop())
        return self._done[-1]
