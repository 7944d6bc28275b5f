"""Check that the event loop is not blocked during work, on machines that may have other load; hold work in threads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.gui_driver import wait_until

from napari_sampath.session import Change

if TYPE_CHECKING:
    from collections.abc import Callable

BAR_S = 0.1
"""Maximum stall of the event loop."""
BUSY_S = 0.05
"""If the event loop of an idle window stalls longer than this, the machine is too busy to measure."""
TRIES = 6


def idle_stall(seconds: float = 2.0) -> float:
    """Return the longest stall in seconds of an idle window."""
    from benchmarks.stalls import StallMeter

    begin, meter = time.perf_counter(), StallMeter()
    wait_until(lambda: time.perf_counter() - begin > seconds, 10 + seconds, "the idle time to pass")
    return meter.stop()


def longest_stalls(measure: Callable[[], float]) -> list[float]:
    """Repeat a measurement until a stall is below the bar, since other programs cause stalls now and then."""
    stalls: list[float] = []
    while len(stalls) < TRIES and (not stalls or min(stalls) >= BAR_S):
        stalls.append(measure())
    return stalls


def assert_alive(stalls: list[float], idle: Callable[[], float] = idle_stall) -> None:
    """Assert that a stall is below the bar; skip on a machine that stalls without the work too."""
    summary = f"longest stalls {[round(1000 * stall) for stall in stalls]} ms"
    print(summary)
    if min(stalls) >= BAR_S:
        idle_s = idle()
        if idle_s > BUSY_S:
            pytest.skip(
                f"the machine is too busy to measure: {summary}, {1000 * idle_s:.0f} ms without the work"
            )
    assert min(stalls) < BAR_S, summary


def hold_changes(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let the preparation of bulk changes wait in its thread until the returned event is set."""
    go_on, prepare = threading.Event(), Change.prepare

    def held(change: Change) -> Any:
        job = prepare(change)

        def waits() -> Any:
            go_on.wait(60)
            return (yield from job)

        return waits()

    monkeypatch.setattr(Change, "prepare", held)
    return go_on
