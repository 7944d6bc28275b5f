"""The output of the command line: results on stdout, notes and progress on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

from ..errors import printable
from ..jobs import Job, Progress, run

T = TypeVar("T")

_LOG_INTERVAL_S = 10.0
"""Interval between progress lines if stderr is not a terminal."""


@dataclass(frozen=True, slots=True)
class Output:
    """Writer of results, notes and progress, as text or as JSON."""

    as_json: bool = False
    """Whether results are written as one JSON object instead of text."""
    quiet: bool = False
    """Whether progress and notes are suppressed."""

    def result(self, values: Mapping[str, object], text: str) -> None:
        """Write a result to stdout: `values` as JSON or `text`, depending on `as_json`."""
        line = json.dumps(values, default=str) if self.as_json else printable(text)
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def note(self, sentence: str | None) -> None:
        """Write a note to stderr; None is ignored."""
        if sentence and not self.quiet:
            sys.stderr.write(f"sampath: {printable(sentence)}\n")

    def run(self, job: Job[T]) -> T:
        """Run a job with a progress bar and return its result."""
        with _Bar(self.quiet) as bar:
            return run(job, bar.show)


class _Bar:
    """Progress bar on stderr, replaced by a new bar when the unit or the total changes."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm | None = None
        self._shown: tuple[str, float] | None = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, progress: Progress) -> None:
        """Update the bar."""
        if self._quiet or not progress.total:
            return
        if self._bar is None or self._shown != (progress.unit, progress.total):
            if self._bar is not None:
                self._bar.close()
            self._shown = (progress.unit, progress.total)
            self._bar = tqdm(
                total=progress.total,
                unit=f" {progress.unit}".rstrip(),
                unit_scale=progress.unit == "bytes",
                file=sys.stderr,
                mininterval=0.1 if sys.stderr.isatty() else _LOG_INTERVAL_S,
                dynamic_ncols=True,
            )
        self._bar.set_description_str(printable(progress.message), refresh=False)
        self._bar.update(progress.done - self._bar.n)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Format rows as aligned columns under headings."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in [headings, *rows]) for index in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        padded = [cell.ljust(width) for cell, width in zip(cells[:-1], widths[:-1], strict=True)]
        return "  ".join([*padded, cells[-1]])

    return "\n".join(line(row) for row in [headings, *rows])
