"""Long tasks as generators of `Progress`, which can be cancelled at each yield."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """One report of a job."""

    done: float
    """Finished units."""
    total: float
    """Total units; 0 if unknown."""
    message: str = ""
    """Description for the user, such as "Encoding the image"."""
    unit: str = ""
    """Name of the units: "tiles", "bytes", "steps" ..."""

    @property
    def fraction(self) -> float:
        """Finished fraction, 0..1; 0 if the total is unknown."""
        return min(1.0, self.done / self.total) if self.total else 0.0


Job: TypeAlias = Generator[Progress, None, T]
"""A generator that yields `Progress` and returns its result; `close()` at a yield cancels it."""


def run(job: Job[T], report: Callable[[Progress], object] | None = None) -> T:
    """Run a job to the end in the calling thread.

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


GIL_S = 0.001
"""Longest time that a loop over `releasing_gil` holds the GIL, in seconds."""


def releasing_gil(items: Iterable[T]) -> Iterator[T]:
    """Iterate over items and let other threads run every `GIL_S`, for long loops in pure Python.

    Otherwise the GUI thread waits for Python's switch interval of 5 ms each time it has released the GIL, which it does
    a hundred times to paint a frame. Loops over native code that releases the GIL, such as torch, do not need this. The
    main thread iterates without pauses.
    """
    if threading.current_thread() is threading.main_thread():
        # It would wait for itself: on a busy machine, a sleep takes a time slice of other processes.
        yield from items
        return
    last = time.perf_counter()
    for item in items:
        if time.perf_counter() - last > GIL_S:
            time.sleep(1e-6)  # A sleep of 0 s would end before a waiting thread wakes up.
            last = time.perf_counter()
        yield item
