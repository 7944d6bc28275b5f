"""Undo and redo stacks with bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ..model.patch import Patch

MAX_STEPS = 200
MAX_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Step:
    """An undo step that changed the document; it is saved in the journal.

    The same step of a document that was closed and opened again is equal.
    """

    number: int
    """Number of the step in the journal."""
    patch: Patch = field(compare=False)
    label: str
    """Noun phrase for messages such as "Undid {label}."."""


@dataclass(slots=True, eq=False)
class PromptStep:
    """An undo step that changed the pending prompt; it is kept in memory only."""

    state: Any
    """The prompt that undo restores or, once the step is undone, the prompt that redo restores."""


Entry: TypeAlias = Step | PromptStep


class History:
    """Steps that can be undone or redone.

    When there are too many document steps, or their patches use too much memory, the oldest are dropped. The newest
    document step is always kept, regardless of its size.

    Args:
        max_steps: Maximum number of document steps.
        max_bytes: Maximum memory of their patches in bytes.
    """

    def __init__(self, max_steps: int = MAX_STEPS, max_bytes: int = MAX_BYTES) -> None:
        self.max_steps = max_steps
        self.max_bytes = max_bytes
        self._done: list[Entry] = []
        self._undone: list[Entry] = []
        self._bytes = 0
        self.pushed = 0
        """Number of calls of `push` that discarded the steps that could be redone; read-only."""

    def __len__(self) -> int:
        return len(self.done)

    @property
    def nbytes(self) -> int:
        """Approximate memory of all patches in bytes, including those of undone steps."""
        return self._bytes

    @property
    def done(self) -> tuple[Step, ...]:
        """The document steps that can be undone, oldest first."""
        return tuple(entry for entry in self._done if isinstance(entry, Step))

    @property
    def undone(self) -> tuple[Step, ...]:
        """The document steps that can be redone; the next step to redo is the last."""
        return tuple(entry for entry in self._undone if isinstance(entry, Step))

    @property
    def prompt_steps(self) -> Iterator[PromptStep]:
        """All prompt steps, whether they can be undone or redone."""
        return (entry for entry in (*self._done, *self._undone) if isinstance(entry, PromptStep))

    @property
    def last(self) -> Entry | None:
        """The step that `undo` would undo."""
        return self._done[-1] if self._done else None

    @property
    def next(self) -> Entry | None:
        """The step that `redo` would redo."""
        return self._undone[-1] if self._undone else None

    def push(self, entry: Entry, below_prompts: bool = False) -> None:
        """Add a new step, and drop the steps that could be redone.

        With `below_prompts`, add a document step that the user made before the steps of the pending prompt: it is
        undone after them, and what can be redone stays.
        """
        index = len(self._done)
        if below_prompts:
            while index and isinstance(self._done[index - 1], PromptStep):
                index -= 1
        else:
            self.pushed += 1
            self.forget_undone()
        self._done.insert(index, entry)
        if isinstance(entry, Step):
            self._bytes += entry.patch.nbytes
            if len(self._done) > self.max_steps or self._bytes > self.max_bytes:
                self._drop_oldest()

    def undo(self) -> Entry | None:
        """Move the last step to the redo stack and return it; None if there is none."""
        if self._done:
            self._undone.append(self._done.pop())
            return self._undone[-1]
        return None

    def redo(self) -> Entry | None:
        """Move the next step of the redo stack to the undo stack and return it; None if there is none."""
        if self._undone:
            self._done.append(self._undone.pop())
            return self._done[-1]
        return None

    def undo_prompt(self) -> PromptStep | None:
        """Move the newest prompt step to the redo stack, even if document steps follow it; None if there is none."""
        for entry in reversed(self._done):
            if isinstance(entry, PromptStep):
                self._done.remove(entry)
                self._undone.append(entry)
                return entry
        return None

    def forget_undone(self) -> None:
        """Drop the steps that could be redone."""
        self._bytes -= sum(step.patch.nbytes for step in self.undone)
        self._undone.clear()

    def forget_prompts(self) -> None:
        """Drop all prompt steps."""
        self._done = list(self.done)
        self._undone = list(self.undone)

    def _drop_oldest(self) -> None:
        steps = self.done
        excess = len(steps) - self.max_steps
        for number, step in enumerate(steps[:-1]):
            if number >= excess and self._bytes <= self.max_bytes:
                break
            self._done.remove(step)
            self._bytes -= step.patch.nbytes
