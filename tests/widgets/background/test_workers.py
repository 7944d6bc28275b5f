from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from napari_sampath.errors import ImageError
from napari_sampath.jobs import Progress, run

pytestmark = pytest.mark.gui

if TYPE_CHECKING:
    from collections.abc import Generator


def test_what_is_imported_is_not_searched_for_garbage_again() -> None:
    """A search takes 0.4 s with all that napari and torch consist of; napari makes one whenever layers go."""
    from napari_sampath.widgets.viewer.jobs import catalogue_job

    gc.unfreeze()
    run(catalogue_job())
    assert gc.get_freeze_count() > 100_000


def test_a_job_returns_reports_and_cancels_at_a_yield(qtbot: Any) -> None:
    from napari_sampath.widgets.background.workers import JobRunner

    runner, results, reports, seen = JobRunner(), [], [], []
    runner.reported.connect(reports.append)

    def job(steps: int, closed: threading.Event) -> Generator[Progress, None, int]:
        try:
            for step in range(steps):
                seen.append(threading.current_thread().name)
                yield Progress(step, steps, "Counting", "steps")
                time.sleep(0.01)
        except GeneratorExit:
            closed.set()
            raise
        return steps

    with qtbot.waitSignal(runner.finished, timeout=5000):
        runner.start(job(120, threading.Event()), "counting", results.append)
    assert results == [120]
    assert set(seen) == {"sampath-job"}
    assert 1 <= len(reports) <= 4, "more often than twice a second, or never"

    closed = threading.Event()
    runner.start(job(10_000, closed), "counting", results.append)
    qtbot.waitUntil(lambda: len(seen) > 125)
    runner.cancel()
    assert not runner.busy
    assert closed.wait(2)
    assert runner.wait(2)
    qtbot.wait(50)
    assert results == [120]


def test_a_newer_job_takes_the_place_of_the_older(qtbot: Any) -> None:
    from napari_sampath.widgets.background.workers import JobRunner

    runner, results, go_on = JobRunner(), [], threading.Event()

    def slow(name: str) -> Generator[Progress, None, str]:
        yield Progress(0, 0)
        go_on.wait(5)
        return name

    runner.start(slow("old"), "waiting", results.append)
    runner.start(slow("new"), "waiting", results.append)
    go_on.set()
    qtbot.waitUntil(lambda: bool(results))
    assert runner.wait(2)
    qtbot.wait(50)
    assert results == ["new"]


@pytest.mark.parametrize(
    "error", [ImageError("The image is empty; open another one."), RuntimeError("CUDA out of memory")]
)
def test_errors_become_one_sentence(qtbot: Any, caplog: pytest.LogCaptureFixture, error: Exception) -> None:
    """Also a RuntimeError, which is what torch raises and what superqt's worker swallows."""
    from napari_sampath.widgets.background.workers import JobRunner

    def job() -> Generator[Progress, None, None]:
        yield Progress(0, 0)
        raise error

    runner, failures = JobRunner(), []
    runner.failed.connect(failures.append)
    with qtbot.waitSignal(runner.finished, timeout=5000):
        runner.start(job(), "opening the image", lambda _: None)
    qtbot.waitUntil(lambda: bool(failures))
    if isinstance(error, ImageError):
        assert failures == ["The image is empty; open another one."]
        assert not caplog.records
    else:
        assert "unexpected" in failures[0]
        assert "opening the image" in failures[0]
        assert "Traceback" not in failures[0]
        assert "CUDA out of memory" in caplog.text, "the log has to hold the cause"
    assert runner.wait(2)


def test_the_prompt_worker_answers_the_newest_and_skips_what_waited(qtbot: Any) -> None:
    from napari_sampath.widgets.background.workers import PromptWorker

    worker, answers, failures = PromptWorker(), [], []
    worker.answered.connect(answers.append)
    worker.failed.connect(failures.append)
    begun, go_on = threading.Event(), threading.Event()

    def first() -> str:
        begun.set()
        go_on.wait(5)
        return "first"

    worker.submit(first)
    assert begun.wait(2)
    for number in range(20):
        worker.submit(lambda number=number: number)
    go_on.set()
    qtbot.waitUntil(lambda: worker.idle and len(answers) == 2)
    assert answers == ["first", 19]

    def refuse() -> None:
        raise ImageError("The image is empty; open another one.")

    worker.submit(refuse)
    qtbot.waitUntil(lambda: bool(failures))
    assert worker.idle, "whoever hears of a failure may ask again"
    worker.submit(lambda: "still alive")
    qtbot.waitUntil(lambda: answers[-1] == "still alive")
    assert failures == ["The image is empty; open another one."]
    assert worker.close(2)


def test_closing_the_worker_while_it_answers_harms_nothing(qtbot: Any) -> None:
    from napari_sampath.widgets.background.workers import PromptWorker

    worker, begun, go_on = PromptWorker(), threading.Event(), threading.Event()
    worker.submit(lambda: (begun.set(), go_on.wait(5)))
    assert begun.wait(2)
    assert not worker.close(0.05), "it cannot be gone while it works"
    worker.deleteLater()
    qtbot.wait(20)
    go_on.set()
    assert worker.close(2)


ENDS_WHILE_COMPUTING = """
import threading, torch
from qtpy.QtCore import QCoreApplication
from napari_sampath.jobs import Progress
from napari_sampath.widgets.workers import JobRunner, PromptWorker

app = QCoreApplication([])
begun = threading.Barrier(3)

def compute(size):
    torch.nn.Conv2d(16, 16, 5)(torch.zeros(1, 16, size, size))

def job():
    begun.wait()
    while True:
        compute(900)
        yield Progress(0, 0, "computing")

runner, worker = JobRunner(), PromptWorker()
runner.start(job(), "computing", print)
worker.submit(lambda: (begun.wait(), compute(1500)))
begun.wait()
"""


def test_a_program_that_ends_while_threads_compute_ends_well() -> None:
    """And not with "terminate called without an active exception", which the system reports as a crash."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS_WHILE_COMPUTING], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
