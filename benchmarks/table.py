"""Rows of the benchmark tables, and alternate timing of several implementations."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

REPEATS = 7
"""Number of timed runs of each implementation; the median is reported."""


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    what: str
    """What is measured."""
    ours: str
    """Result of this package, with unit."""
    theirs: str
    """Result of `segment_anything`, or the limit."""
    ratio: float | None
    """`theirs` divided by `ours`, so that higher is better; None if there is nothing to compare with."""
    bar: float | None
    """Minimum ratio; None if none is set."""
    note: str = ""
    """Remark needed to read the numbers."""

    @property
    def missed(self) -> bool:
        """True if there is a bar and the ratio is below it."""
        return self.bar is not None and (self.ratio is None or self.ratio < self.bar)

    @property
    def verdict(self) -> str:
        """Return "met", "missed" or "no bar"."""
        if self.bar is None:
            return "no bar"
        return "missed" if self.missed else "met"

    def cells(self) -> tuple[str, ...]:
        """Return the text of the columns."""
        ratio, bar = ("" if value is None else f"{value:.2f}x" for value in (self.ratio, self.bar))
        return self.what, self.ours, self.theirs, ratio, bar, self.verdict, self.note


HEADINGS = "what", "here", "package or limit", "ratio", "bar", "", "note"


def limited(what: str, value: float, limit: float, unit: str, note: str = "") -> Row:
    """Return the row of a value that may be at most `limit`."""
    return Row(
        what, f"{value:.3g} {unit}", f"at most {limit:.3g} {unit}", limit / max(value, 1e-9), 1.0, note
    )


def timed(what: str, medians: Mapping[str, float], bar: float | None, note: str = "") -> Row:
    """Return the row of two medians in seconds, "ours" and "theirs"."""
    ours, theirs = medians["ours"], medians["theirs"]
    return Row(what, seconds(ours), seconds(theirs), theirs / ours, bar, note)


def seconds(value: float) -> str:
    """Format a time in s or ms."""
    return f"{value:.1f} s" if value >= 1 else f"{1e3 * value:.1f} ms"


def alternate(calls: Mapping[str, Callable[[], object]], repeats: int = REPEATS) -> dict[str, float]:
    """Time several calls alternately, so that other load on the machine affects all of them.

    Args:
        calls: Name -> call.
        repeats: Number of timed runs of each call, after one untimed run.

    Returns:
        Name -> median wall-clock seconds.
    """
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def to_text(rows: Iterable[Row]) -> str:
    """Format rows as aligned columns for a terminal."""
    lines = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[index]) for line in lines) for index in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def to_markdown(rows: Iterable[Row]) -> str:
    """Format rows as a Markdown table."""
    lines = [HEADINGS, tuple("---" for _ in HEADINGS), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
