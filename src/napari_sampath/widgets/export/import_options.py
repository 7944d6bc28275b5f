"""Choices for imported files, and the questions about files that can be read in several ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ...settings import setting
from ..viewer.questions import Choice, Question

if TYPE_CHECKING:
    from ...formats import ImportChoiceError, ReadOptions


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """Choices that apply to all files; other choices are made by answering a question."""

    overlap: str = setting(
        "smaller-on-top", label="Overlapping objects", choices=("smaller-on-top", "file-order")
    )
    """Which of two overlapping objects is on top, unless the file states it."""
    geometry: str = setting("outline", label="QuPath cells", choices=("outline", "nucleus"))
    """Outline of QuPath cells to read."""

    def options(self) -> ReadOptions:
        """Return the options for reading; an ambiguous label map, and points, lead to a question."""
        from ...formats import ReadOptions

        choices: dict[str, Any] = {"overlap": self.overlap, "geometry": self.geometry}
        return ReadOptions(as_="ask", points="ask", **choices)


def question(
    error: ImportChoiceError, options: ReadOptions, read: Callable[[ReadOptions], object]
) -> Question:
    """Turn an error about a file that can be read in several ways into a question.

    Args:
        error: The error, with the possible choices.
        options: The options with which the file was read.
        read: Reads the file again with other options.
    """
    choices = [
        Choice(
            choice.label,
            f"Read the file with {choice.flag}",
            partial(read, replace(options, **choice.changes)),
        )
        for choice in error.choices
    ]
    return Question(error.question, (*choices, Choice("Cancel", "Import nothing")))
