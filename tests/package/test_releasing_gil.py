"""A loop over `releasing_gil` lets other threads run Python; a plain loop holds the GIL for a switch interval."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from napari_sampath.jobs import releasing_gil


@pytest.fixture
def long_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(30)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("releases", [True, False])
def test_other_threads_run_during_a_loop_over_releasing_gil(long_interval: None, releases: bool) -> None:
    ran: list[bool] = []
    gate = threading.Lock()
    gate.acquire()
    thread = threading.Thread(target=lambda: (gate.acquire(), ran.append(True)))
    thread.start()
    seen: list[bool] = []

    def loop() -> None:
        gate.release()
        end = time.perf_counter() + (60 if releases else 0.3)
        for _ in releasing_gil(itertools.count()) if releases else itertools.count():
            if ran or time.perf_counter() > end:
                break
        seen.append(bool(ran))

    looping = threading.Thread(target=loop)
    looping.start()
    looping.join()
    assert seen == [releases]
    thread.join()


def test_the_main_thread_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nobody to wait for, and on a busy machine each sleep takes a time slice of other programs."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("slept"))
    end = time.perf_counter() + 0.05
    for _ in releasing_gil(itertools.count()):
        if time.perf_counter() > end:
            break


def test_releasing_gil_yields_all_items_in_order() -> None:
    assert list(releasing_gil(range(1000))) == list(range(1000))
