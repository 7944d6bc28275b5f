"""The threads behind the docks: one runner for jobs, one long-lived worker for prompts.

Both are plain threads rather than superqt workers, for two reasons found in superqt 0.9 (`_qthreading.py`):
its `GeneratorWorker` takes every RuntimeError for a deleted worker and stays silent, and torch raises
RuntimeError when memory runs out; and each worker swaps the process-wide warning filters, so two at a time
restore them wrongly.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from ...errors import CancelledError, SampathError
from .switch_interval import short_turns
from .threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...jobs import Job, Progress

logger = logging.getLogger(__name__)

REPORT_MS = 500
"""Progress is painted twice a second at most: redrawing the window slows computing down by a factor of up to
nine."""


def error_message(error: Exception, doing: str) -> str:
    """Turn an exception into one sentence for the message line; the unexpected ones are logged with
    traceback.

    Args:
        error: What was raised.
        doing: What was being done, to follow "while".
    """
    if isinstance(error, SampathError):
        return str(error)
    logger.error("Unexpected error while %s", doing, exc_info=error)
    return (
        f"Something unexpected went wrong while {doing} ({type(error).__name__}); what you saved is safe. "
        "Try again, and report it with the log if it stays."
    )


class _Run:
    """One job in its thread: what it last reported, and whether it shall stop."""

    def __init__(self, job: Job[Any], doing: str, then: Callable[[Any], object]) -> None:
        self.job = job
        self.doing = doing
        self.then = then
        self.cancelled = threading.Event()
        self.latest: Progress | None = None

    def drive(self) -> Any:
        """Run the job to its end, or close it at the first yield after a cancel.

        Raises:
            CancelledError: If it was cancelled.
        """
        while not self.cancelled.is_set():
            try:
                self.latest = next(self.job)
            except StopIteration as stop:
                return stop.value
        self.job.close()
        raise CancelledError(f"Cancelled {self.doing}.")


class JobRunner(QObject):
    """Runs one job at a time in a thread and tells, in the GUI thread, how far it is and how it ended.

    Starting a job cancels the one before; whatever a cancelled job still returns is dropped. Cancel takes
    effect at the job's next yield, the window is free at once.
    """

    started = Signal(str)
    """What is being done."""
    reported = Signal(object)
    """The newest `Progress`, every 500 ms at most."""
    failed = Signal(str)
    """One sentence."""
    finished = Signal()
    """The job is over, however it ended."""
    _ended = Signal(object, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._run: _Run | None = None
        self._threads: list[threading.Thread] = []
        self.switch = [threading.Event()]
        """Holds what stops the newest job; for who outlives this object."""
        self._timer = QTimer(self)
        self._timer.setInterval(REPORT_MS)
        self._timer.timeout.connect(self._report)
        self._ended.connect(self._on_ended)

    @property
    def busy(self) -> bool:
        """True while a job runs that was not cancelled."""
        return self._run is not None

    def start(self, job: Job[Any], doing: str, then: Callable[[Any], object]) -> None:
        """Run a job in the background.

        Args:
            job: The job; it must not touch widgets or layers.
            doing: What it does in a few words, to follow "while".
            then: Called with the job's result in the GUI thread, unless it failed or was cancelled.
        """
        self.cancel()
        run = self._run = _Run(job, doing, then)
        self.switch[0] = run.cancelled
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._timer.start()
        self.started.emit(doing)
        self._threads.append(start_thread(self._work, run, name="sampath-job", stop=run.cancelled.set))

    def cancel(self) -> None:
        """Ask the running job to stop at its next yield and forget its result."""
        if self._run is None:
            return
        self._run.cancelled.set()
        self._over()

    def wait(self, timeout_s: float) -> bool:
        """Block until all threads, cancelled ones too, are gone; False if some are left after the time."""
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, run: _Run) -> None:
        result: Any = None
        error: Exception | None = None
        try:
            with short_turns():
                result = run.drive()
        except Exception as caught:  # noqa: BLE001  (the edge of a thread: nobody above would see it)
            error = caught
        # The window may be closed by now, and this object with it.
        with contextlib.suppress(RuntimeError):
            self._ended.emit(run, result, error)

    def _on_ended(self, run: _Run, result: Any, error: Exception | None) -> None:
        if run is not self._run:
            return
        self._over()
        try:
            if error is None:
                run.then(result)
        except SampathError as late:
            error = late
        if error is not None and not isinstance(error, CancelledError):
            self.failed.emit(error_message(error, run.doing))

    def _over(self) -> None:
        self._timer.stop()
        self._run = None
        self.finished.emit()

    def _report(self) -> None:
        if self._run is not None and self._run.latest is not None:
            self.reported.emit(self._run.latest)


class PromptWorker(QObject):
    """One thread that answers prompts for as long as the dock lives; its queue holds one request, the newest.

    A request that was not begun when a newer one arrives is dropped unanswered; one already begun is
    answered and left to `SessionPrompts.accept`, which drops what is stale. Previews have a place of their own in the
    queue, with the same rule, and wait until no prompt does.
    """

    answered = Signal(object)
    """What the answering function returned."""
    previewed = Signal(object)
    """What the function of a preview returned."""
    failed = Signal(str)
    """One sentence."""
    _done = Signal(int, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._wake = threading.Condition()
        self._slot: tuple[int, Callable[[], object]] | None = None
        self._preview: Callable[[], object] | None = None
        self._closed = False
        self._asked = 0
        self._delivered = 0
        self._done.connect(self._on_done)
        self._thread = start_thread(self._work, name="sampath-prompts", stop=self._stop)

    @property
    def idle(self) -> bool:
        """True if whatever was submitted is answered, previews aside, and whoever listens has the answer."""
        return self._delivered == self._asked

    def submit(self, answer: Callable[[], object]) -> None:
        """Queue a function for the thread, in place of one that still waits."""
        with self._wake:
            self._asked += 1
            self._slot = self._asked, answer
            self._wake.notify()

    def submit_preview(self, answer: Callable[[], object]) -> None:
        """Queue a function whose answer is nice to have, in place of one that still waits; prompts come first."""
        with self._wake:
            self._preview = answer
            self._wake.notify()

    def drop_preview(self) -> None:
        """Forget a preview that still waits."""
        with self._wake:
            self._preview = None

    def close(self, timeout_s: float = 0.0) -> bool:
        """End the thread after the request it is on; True if it is gone within the time."""
        self._stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _stop(self) -> None:
        with self._wake:
            self._closed = True
            self._slot = self._preview = None
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(
                    lambda: self._closed or self._slot is not None or self._preview is not None
                )
                if self._closed:
                    return
                slot, self._slot = self._slot, None
                preview = None
                if slot is None:
                    preview, self._preview = self._preview, None
            # Once the window is closed there is nobody to tell.
            with contextlib.suppress(RuntimeError), short_turns():
                if slot is not None:
                    self._answer(*slot)
                elif preview is not None:
                    self._show(preview)

    def _on_done(self, number: int, result: object, failure: str | None) -> None:
        # In one turn of the window: a key between an answer and the word that there is one would wait for ever.
        if failure is None:
            self.answered.emit(result)
        else:
            self.failed.emit(failure)
        self._delivered = number

    def _answer(self, number: int, answer: Callable[[], object]) -> None:
        try:
            result = answer()
        except Exception as error:  # noqa: BLE001  (the edge of a thread: nobody above would see it)
            self._done.emit(number, None, error_message(error, "answering the prompt"))
        else:
            self._done.emit(number, result, None)

    def _show(self, preview: Callable[[], object]) -> None:
        try:
            result = preview()
        except Exception as error:  # noqa: BLE001  (nobody asked for it; a click will say what is wrong)
            logger.debug("No preview: %s", error)
        else:
            self.previewed.emit(result)
