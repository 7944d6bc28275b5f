"""Long work as a generator of `Progress`: run inline, shown by anyone, cancelled at each yield. No Qt."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a job."""

    done: float
    """Units finished so far."""
    total: float
    """Units in all; 0 where it is not known."""
    message: str = ""
    """What is being done, in the user's words."""
    unit: str = ""
    """What is counted: "tiles", "bytes", "steps"."""

    @property
    def fraction(self) -> float:
        """Share finished, 0..1; 0 where the total is not known."""
        return min(1.0, self.done / self.total) if self.total else 0.0


Job: TypeAlias = Generator[Progress, None, T]
"""A generator that yields `Progress` and returns its result; `close()` at a yield cancels it."""


def run(job: Job[T], report: Callable[[Progress], object] | None = None) -> T:
    """Run a job to its end in this thread.

    Args:
        job: The job.
        report: Called with every `Progress`.

    Returns:
        The job's result.
    """
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            result: T = stop.value
            return result
        if report is not None:
            report(progress)
