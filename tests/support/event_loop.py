"""Does the window live while it works? Measured by a timer, on machines that have other work, too."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from benchmarks.gui_driver import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

BAR_S = 0.1
"""The longest time that the window may stand still."""
BUSY_S = 0.05
"""A machine whose window stands still for so long with nothing to do says nothing about what we do."""
TRIES = 6


def idle_stall(seconds: float = 2.0) -> float:
    """Only wait, and return the longest stall in seconds."""
    from benchmarks.stalls import StallMeter

    begin, meter = time.perf_counter(), StallMeter()
    wait_until(lambda: time.perf_counter() - begin > seconds, 10 + seconds, "some idle seconds")
    return meter.stop()


def longest_stalls(measure: Callable[[], float]) -> list[float]:
    """Measure until one is under the bar: other programs stall a window now and then, what we do stalls it always."""
    found: list[float] = []
    while len(found) < TRIES and (not found or min(found) >= BAR_S):
        found.append(measure())
    return found


def assert_alive(stalls: list[float], idle: Callable[[], float] = idle_stall) -> None:
    """One of the longest stalls is under the bar; skips on a machine that stalls without the work, too."""
    shown = f"longest stalls {[round(1000 * one) for one in stalls]} ms"
    print(shown)
    if min(stalls) >= BAR_S:
        without = idle()
        if without > BUSY_S:
            pytest.skip(
                f"the machine is too busy to measure: {shown}, {1000 * without:.0f} ms without the work"
            )
    assert min(stalls) < BAR_S, shown
