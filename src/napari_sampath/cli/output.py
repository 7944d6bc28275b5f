"""All that the command line writes: results to stdout, notes, progress and errors to stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

from ..jobs import Job, Progress, run

T = TypeVar("T")

_LOG_INTERVAL_S = 10.0
"""Time between two lines of progress where stderr is a file or a pipe."""


@dataclass(frozen=True, slots=True)
class Output:
    """How a verb speaks: to a person, or to a program."""

    as_json: bool = False
    """One JSON object on stdout in place of text."""
    quiet: bool = False
    """No progress and no notes; results and errors are still written."""

    def result(self, values: Mapping[str, object], text: str) -> None:
        """Write what the verb was called for: `values` for machines, `text` for people."""
        line = json.dumps(values, indent=None, default=str) if self.as_json else text
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def note(self, sentence: str | None) -> None:
        """Tell a person something that is not the result; None is nothing to tell."""
        if sentence and not self.quiet:
            sys.stderr.write(f"sampath: {sentence}\n")

    def run(self, job: Job[T]) -> T:
        """Run a job to its end, with a progress bar."""
        with _Bar(self.quiet) as bar:
            return run(job, bar.show)


class _Bar:
    """Shows `Progress` on stderr; a job that changes what it counts gets a new bar."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm | None = None
        self._counted: tuple[str, float] | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, progress: Progress) -> None:
        """Draw one report."""
        if self._quiet or not progress.total:
            return
        if self._bar is None or self._counted != (progress.unit, progress.total):
            if self._bar is not None:
                self._bar.close()
            self._counted = (progress.unit, progress.total)
            self._bar = tqdm(
                total=progress.total,
                unit=f" {progress.unit}".rstrip(),
                unit_scale=progress.unit == "bytes",
                file=sys.stderr,
                mininterval=0.1 if sys.stderr.isatty() else _LOG_INTERVAL_S,
                dynamic_ncols=True,
            )
        self._bar.set_description_str(progress.message, refresh=False)
        self._bar.update(progress.done - self._bar.n)


def count(number: int, noun: str) -> str:
    """Write a number of things: "1 tile", "2 tiles"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Set rows of text under headings in columns; the last column is not padded."""
    widths = [max(len(row[index]) for row in [headings, *rows]) for index in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
        return "  ".join([*padded, cells[-1]])

    return "\n".join(line(row) for row in [headings, *rows])
