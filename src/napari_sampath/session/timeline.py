"""In which order prompts and changes to the document came, so that undo takes back the newest of both."""

from __future__ import annotations

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["prompt", "document"]


class Timeline:
    """The kinds of the last steps while prompts are pending; without prompts all steps are the document's."""

    def __init__(self) -> None:
        self._done: list[Kind] = []
        self._undone: list[Kind] = []
        # How many undone steps of the document nothing has followed since; None: all that its history holds.
        self._document_steps: int | None = None

    @property
    def can_redo_document(self) -> bool:
        """False if something new was done after the document's steps were undone."""
        return self._document_steps is None or self._document_steps > 0

    @property
    def last(self) -> Kind:
        """Kind of step that undo takes back."""
        return self._done[-1] if self._done else "document"

    @property
    def next(self) -> Kind:
        """Kind of step that redo does again."""
        return self._undone[-1] if self._undone else "document"

    def push(self, kind: Kind) -> None:
        """Note a step; what had been undone is gone."""
        self._undone.clear()
        self._document_steps = 0
        if kind == "prompt" or self._done:
            self._done.append(kind)

    def undo(self, kind: Kind) -> None:
        """Note that the newest step of a kind was taken back."""
        for index in range(len(self._done) - 1, -1, -1):
            if self._done[index] == kind:
                del self._done[index]
                break
        if kind == "document" and self._document_steps is not None:
            self._document_steps += 1
        if kind == "prompt" or self._undone:
            self._undone.append(kind)

    def redo(self) -> None:
        """Note that the step undone last was done again."""
        kind = self._undone.pop() if self._undone else "document"
        if kind == "document" and self._document_steps is not None:
            self._document_steps -= 1
        if kind == "prompt" or self._done:
            self._done.append(kind)

    def forget_prompts(self) -> None:
        """Note that the pending prompts are gone for good."""
        self._done.clear()
        self._undone.clear()
