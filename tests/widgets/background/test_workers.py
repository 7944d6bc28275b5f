from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from napari_sampath.errors import ImageError
from napari_sampath.jobs import Progress
from napari_sampath.widgets.background.threads import EXIT_S

pytestmark = pytest.mark.gui

if TYPE_CHECKING:
    from collections.abc import Generator


def test_a_job_returns_reports_and_is_cancelled_at_a_yield(qtbot: Any) -> None:
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

    begin = time.monotonic()
    with qtbot.waitSignal(runner.finished, timeout=60_000):
        runner.start(job(120, threading.Event()), "counting", results.append)
    assert results == [120]
    assert set(seen) == {"sampath-job"}
    assert 1 <= len(reports) <= 2 + 2 * (time.monotonic() - begin), "at most two reports a second"

    closed = threading.Event()
    runner.start(job(10_000, closed), "counting", results.append)
    qtbot.waitUntil(lambda: len(seen) > 125, timeout=60_000)
    runner.cancel()
    assert not runner.busy
    assert closed.wait(60)
    assert runner.wait(60)
    qtbot.wait(50)
    assert results == [120]


def test_a_new_job_replaces_the_running_job(qtbot: Any) -> None:
    from napari_sampath.widgets.background.workers import JobRunner

    runner, results, go_on = JobRunner(), [], threading.Event()

    def slow(name: str) -> Generator[Progress, None, str]:
        yield Progress(0, 0)
        go_on.wait(60)
        return name

    runner.start(slow("old"), "waiting", results.append)
    runner.start(slow("new"), "waiting", results.append)
    go_on.set()
    qtbot.waitUntil(lambda: bool(results), timeout=60_000)
    assert runner.wait(60)
    qtbot.wait(50)
    assert results == ["new"]


@pytest.mark.parametrize(
    "error", [ImageError("The image is empty; open another one."), RuntimeError("CUDA out of memory")]
)
def test_an_error_becomes_one_sentence(
    qtbot: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """Including RuntimeError, which torch raises and superqt's worker swallows."""
    from napari_sampath.widgets.background.workers import JobRunner

    def job() -> Generator[Progress, None, None]:
        yield Progress(0, 0)
        raise error

    runner, failures = JobRunner(), []
    runner.failed.connect(failures.append)
    with qtbot.waitSignal(runner.finished, timeout=60_000):
        runner.start(job(), "opening the image", lambda _: None)
    qtbot.waitUntil(lambda: bool(failures), timeout=60_000)
    if isinstance(error, ImageError):
        assert failures == ["The image is empty; open another one."]
        assert not caplog.records
    else:
        assert "unexpected" in failures[0]
        assert "opening the image" in failures[0]
        assert "Traceback" not in failures[0]
        assert "CUDA out of memory" in caplog.text, "the log holds the cause"
    assert runner.wait(60)


def test_the_prompt_worker_answers_only_the_newest_waiting_request(qtbot: Any) -> None:
    from napari_sampath.widgets.background.workers import PromptWorker

    worker, answers, failures = PromptWorker(), [], []
    worker.answered.connect(answers.append)
    worker.failed.connect(failures.append)
    begun, go_on = threading.Event(), threading.Event()

    def first() -> str:
        begun.set()
        go_on.wait(60)
        return "first"

    worker.submit(first)
    assert begun.wait(60)
    for number in range(20):
        worker.submit(lambda number=number: number)
    go_on.set()
    qtbot.waitUntil(lambda: worker.idle and len(answers) == 2, timeout=60_000)
    assert answers == ["first", 19]

    def refuse() -> None:
        raise ImageError("The image is empty; open another one.")

    worker.submit(refuse)
    qtbot.waitUntil(lambda: bool(failures), timeout=60_000)
    assert worker.idle, "a listener of the failure may submit again"
    worker.submit(lambda: "still alive")
    qtbot.waitUntil(lambda: answers[-1] == "still alive", timeout=60_000)
    assert failures == ["The image is empty; open another one."]
    assert worker.close(2)


def test_the_prompt_worker_can_be_closed_while_it_answers(qtbot: Any) -> None:
    from napari_sampath.widgets.background.workers import PromptWorker

    worker, begun, go_on = PromptWorker(), threading.Event(), threading.Event()
    worker.submit(lambda: (begun.set(), go_on.wait(60)))
    assert begun.wait(60)
    assert not worker.close(0.05), "it still works"
    worker.deleteLater()
    qtbot.wait(20)
    go_on.set()
    assert worker.close(2)


EXIT_WHILE_COMPUTING = """
import atexit, threading, time
atexit.register(lambda: print(time.monotonic()))  # Hooks run in reverse order: this one is the last.
import torch
from qtpy.QtCore import QCoreApplication
from napari_sampath.jobs import Progress
from napari_sampath.widgets.background.threads import EXIT_S
from napari_sampath.widgets.background.workers import JobRunner, PromptWorker

app = QCoreApplication([])
begun = threading.Barrier(3)

def compute(calls):
    for _ in range(calls):
        torch.nn.Conv2d(16, 16, 5)(torch.zeros(1, 16, 300, 300))

def job():
    begun.wait()
    while True:
        compute(CALLS)
        yield Progress(0, 0, "computing")

runner, worker = JobRunner(), PromptWorker()
runner.start(job(), "computing", print)
worker.submit(lambda: (begun.wait(), compute(CALLS)))
begun.wait()
atexit.register(lambda: print(time.monotonic()))
"""


@pytest.mark.parametrize("calls", [10, 100_000])
def test_a_program_that_exits_while_threads_compute_ends_well_and_soon(calls: int) -> None:
    """Not with "terminate called without an active exception", which the system reports as a crash."""
    code = EXIT_WHILE_COMPUTING.replace("CALLS", str(calls))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    start, end = map(float, done.stdout.split())
    assert end - start < EXIT_S + 1, "a second for a busy machine"


def test_jobs_change_no_setting_of_the_process(qtbot: Any) -> None:
    """napari shares its process with other plugins."""
    import timm  # noqa: F401  (with torch: both set variables of the environment when they are imported)

    from napari_sampath.widgets.background.workers import JobRunner
    from napari_sampath.widgets.viewer.jobs import catalogue_job

    def settings() -> tuple[Any, ...]:
        return sys.getswitchinterval(), gc.get_freeze_count(), gc.isenabled(), dict(os.environ)

    gc.unfreeze()
    before, during, runner = settings(), [], JobRunner()

    def job() -> Generator[Progress, None, None]:
        yield from catalogue_job()
        during.append(settings())

    with qtbot.waitSignal(runner.finished, timeout=60_000):
        runner.start(job(), "looking up the models", lambda _: None)
    assert during == [before]
    assert runner.wait(60)
