"""Threads take short turns while something computes in the background, and as before afterwards."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from napari_sampath.widgets.background.switch_interval import TURN_S, short_turns
from napari_sampath.widgets.background.workers import JobRunner, PromptWorker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytestqt.qtbot import QtBot


@pytest.fixture(autouse=True)
def _long_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.004)
    yield
    assert sys.getswitchinterval() == pytest.approx(0.004, rel=0.05)
    sys.setswitchinterval(before)


def test_turns_are_short_until_the_last_has_ended() -> None:
    first, second = short_turns(), short_turns()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(TURN_S, rel=0.05)
    second.__exit__(None, None, None)


def test_who_had_shorter_turns_keeps_them_and_a_failure_ends_them() -> None:
    sys.setswitchinterval(TURN_S / 5)
    seen = []

    def fail() -> None:
        with short_turns():
            seen.append(sys.getswitchinterval())
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert seen == pytest.approx([TURN_S / 5], rel=0.05)
    assert sys.getswitchinterval() == pytest.approx(TURN_S / 5, rel=0.05)
    sys.setswitchinterval(0.004)


@pytest.mark.gui
def test_jobs_and_prompts_take_short_turns(qtbot: QtBot) -> None:
    seen: list[float] = []
    go_on = threading.Event()

    def job() -> Any:
        go_on.wait(10)
        seen.append(sys.getswitchinterval())
        return
        yield

    runner, worker = JobRunner(), PromptWorker()
    with qtbot.waitSignal(runner.finished):
        runner.start(job(), "testing", lambda _: None)
        go_on.set()
    with qtbot.waitSignal(worker.answered):
        worker.submit(lambda: seen.append(sys.getswitchinterval()))
    assert seen == pytest.approx([TURN_S, TURN_S], rel=0.05)
    assert worker.close(10)
    assert runner.wait(10)
