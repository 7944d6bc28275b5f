"""A loop over `sharing` lets other threads run Python; a plain loop keeps the interpreter for a switch interval."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from napari_sampath.jobs import sharing


@pytest.fixture
def long_interval() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(30)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("share", [True, False])
def test_another_thread_runs_during_a_loop_over_sharing(long_interval: None, share: bool) -> None:
    ran: list[bool] = []
    gate = threading.Lock()
    gate.acquire()
    thread = threading.Thread(target=lambda: (gate.acquire(), ran.append(True)))
    thread.start()
    gate.release()
    end = time.perf_counter() + (10 if share else 0.3)
    for _ in sharing(itertools.count()) if share else itertools.count():
        if ran or time.perf_counter() > end:
            break
    assert bool(ran) is share
    thread.join()


def test_sharing_yields_all_items_in_order() -> None:
    assert list(sharing(range(1000))) == list(range(1000))
