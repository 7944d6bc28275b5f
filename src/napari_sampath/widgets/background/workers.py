"""Threads of the docks: a runner for jobs and a long-lived worker for prompts.

Both use plain threads instead of superqt workers, for two reasons (superqt 0.9, `_qthreading.py`). `GeneratorWorker`
ignores every RuntimeError, as if the worker had been deleted, but torch raises RuntimeError when it runs out of memory.
Each worker also replaces the process-wide warning filters, so that two concurrent workers restore the wrong filters.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from ...config import own_log_file
from ...errors import CancelledError, SampathError
from ...files.error_log import record_error
from ...jobs import Job, Progress
from .threads import start_thread

logger = logging.getLogger(__name__)

REPORT_MS = 500
"""Interval of progress reports. Each report redraws the window; frequent reports made jobs up to nine times slower."""


def error_message(error: Exception, doing: str) -> str:
    """Return an error message for the user; write the traceback of an unexpected error to the log file.

    Args:
        error: The exception.
        doing: Description of the activity that can follow "while", such as "opening the image".
    """
    if isinstance(error, SampathError):
        return str(error)
    logger.error("Unexpected error while %s", doing, exc_info=error)
    place = record_error(doing, error, own_log_file())
    return f"An unexpected error occurred while {doing} ({type(error).__name__}); saved work is safe. {place}"


@dataclass(eq=False)
class _Run:
    """A running job."""

    job: Job[Any]
    doing: str
    then: Callable[[Any], object]
    cancelled: threading.Event = field(default_factory=threading.Event)
    latest: Progress | None = None

    def drive(self) -> Any:
        """Run the job to its end; if it is cancelled, close it at its next yield.

        Raises:
            CancelledError: If the job was cancelled.
        """
        while not self.cancelled.is_set():
            try:
                self.latest = next(self.job)
            except StopIteration as stop:
                return stop.value
        self.job.close()
        raise CancelledError(f"Cancelled {self.doing}.")


class JobRunner(QObject):
    """Runs one job at a time in a thread and reports its progress and end in the GUI thread.

    Starting a job cancels the previous one; the result of a cancelled job is dropped. Cancelling returns at once and
    takes effect at the job's next yield.
    """

    started = Signal(str)
    """Emitted with a short description of the activity."""
    reported = Signal(object)
    """Emitted with the newest `Progress`, at most every 500 ms."""
    failed = Signal(str)
    """Emitted with an error message for the user."""
    finished = Signal()
    """Emitted when the job returned, failed or was cancelled."""
    _ended = Signal(object, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._run: _Run | None = None
        self._threads: list[threading.Thread] = []
        self.switch = [threading.Event()]
        """List that holds the cancel event of the newest job; it stays valid when this object is deleted."""
        self._timer = QTimer(self)
        self._timer.setInterval(REPORT_MS)
        self._timer.timeout.connect(self._report)
        self._ended.connect(self._on_ended)

    @property
    def busy(self) -> bool:
        """Whether a job is running that was not cancelled."""
        return self._run is not None

    def start(self, job: Job[Any], doing: str, then: Callable[[Any], object]) -> None:
        """Run a job in the background.

        Args:
            job: The job; it must not touch widgets or layers.
            doing: Short description of the activity that can follow "while".
            then: Called with the result in the GUI thread, unless the job failed or was cancelled.
        """
        self.cancel()
        run = self._run = _Run(job, doing, then)
        self.switch[0] = run.cancelled
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        self._timer.start()
        self.started.emit(doing)
        self._threads.append(start_thread(self._work, run, name="sampath-job", stop=run.cancelled.set))

    def cancel(self) -> None:
        """Stop the running job at its next yield and drop its result."""
        if self._run is not None:
            self._run.cancelled.set()
            self._end()

    def wait(self, timeout_s: float) -> bool:
        """Wait for all threads, including threads of cancelled jobs; return False if a thread is still alive."""
        for thread in self._threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self, run: _Run) -> None:
        result: Any = None
        error: Exception | None = None
        try:
            result = run.drive()
        except Exception as caught:  # noqa: BLE001  (reported in the GUI thread)
            error = caught
        # This object may be deleted with its window.
        with contextlib.suppress(RuntimeError):
            self._ended.emit(run, result, error)

    def _on_ended(self, run: _Run, result: Any, error: Exception | None) -> None:
        if run is not self._run:
            return
        self._end()
        try:
            if error is None:
                run.then(result)
        except SampathError as late:
            error = late
        if error is not None and not isinstance(error, CancelledError):
            self.failed.emit(error_message(error, run.doing))

    def _end(self) -> None:
        self._timer.stop()
        self._run = None
        self.finished.emit()

    def _report(self) -> None:
        if self._run is not None and self._run.latest is not None:
            self.reported.emit(self._run.latest)


class PromptWorker(QObject):
    """A thread that predicts masks for prompts and skips requests that are out of date.

    A new request replaces a queued one, except that kept requests are all answered, in order and before the others. A
    request that has started is always finished; the session ignores outdated results. Only the newest preview is
    queued, and it runs when no prompt is queued.
    """

    answered = Signal(object)
    """Emitted with the return value of a submitted function."""
    previewed = Signal(object)
    """Emitted with the return value of a preview function."""
    failed = Signal(str)
    """Emitted with an error message for the user."""
    dropped = Signal(object, str)
    """Emitted with the key of a request that failed and the error message, before `failed`."""
    _done = Signal(int, object, object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._wake = threading.Condition()
        self._kept: deque[tuple[int, Callable[[], object]]] = deque()
        self._prompt: tuple[int, Callable[[], object]] | None = None
        self._preview: Callable[[], object] | None = None
        self._closed = False
        self._submitted = 0
        self._keys: dict[int, object] = {}
        """Number and key of each request whose result has not been emitted."""
        self._done.connect(self._on_done)
        self._thread = start_thread(self._work, name="sampath-prompts", stop=self._stop)

    @property
    def idle(self) -> bool:
        """Whether the results of all requests have been emitted; previews and replaced requests do not count."""
        return not self._keys

    def submit(self, function: Callable[[], object], key: object = None, keep: bool = False) -> None:
        """Queue a function; with `keep` it is never replaced, otherwise it replaces a queued function.

        Args:
            function: Called in the thread.
            key: Identifies the request for `keep` and `dropped`; compared by identity.
            keep: Whether the function is called even if newer requests follow.
        """
        with self._wake:
            self._submitted += 1
            self._keys[self._submitted] = key
            if keep:
                self._kept.append((self._submitted, function))
            else:
                self._replace((self._submitted, function))
            self._wake.notify()

    def keep(self, key: object) -> bool:
        """Do not replace the request with this key by a newer one; return False if it is not queued or running."""
        with self._wake:
            if self._prompt is not None and self._keys[self._prompt[0]] is key:
                self._kept.append(self._prompt)
                self._prompt = None
            return any(other is key for other in self._keys.values())

    def submit_preview(self, function: Callable[[], object]) -> None:
        """Queue a preview function; it replaces a queued preview, and prompts run first."""
        with self._wake:
            self._preview = function
            self._wake.notify()

    def drop_preview(self) -> None:
        """Remove a queued preview."""
        with self._wake:
            self._preview = None

    def close(self, timeout_s: float = 0.0) -> bool:
        """End the thread after its current request; return True if it ended within the timeout."""
        self._stop()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _replace(self, prompt: tuple[int, Callable[[], object]] | None) -> None:
        if self._prompt is not None:
            del self._keys[self._prompt[0]]
        self._prompt = prompt

    def _stop(self) -> None:
        with self._wake:
            self._closed = True
            self._kept.clear()
            self._prompt = self._preview = None
            self._wake.notify()

    def _work(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._closed or self._kept or self._prompt or self._preview)
                if self._closed:
                    return
                prompt = preview = None
                if self._kept:
                    prompt = self._kept.popleft()
                elif self._prompt is not None:
                    prompt, self._prompt = self._prompt, None
                else:
                    preview, self._preview = self._preview, None
            # This object may be deleted with its window.
            with contextlib.suppress(RuntimeError):
                if prompt is not None:
                    self._run_prompt(*prompt)
                elif preview is not None:
                    self._run_preview(preview)

    def _on_done(self, number: int, result: object, failure: str | None) -> None:
        key = self._keys.pop(number)
        if failure is None:
            self.answered.emit(result)
        else:
            self.dropped.emit(key, failure)
            self.failed.emit(failure)

    def _run_prompt(self, number: int, function: Callable[[], object]) -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  (reported in the GUI thread)
            self._done.emit(number, None, error_message(error, "computing the mask"))
        else:
            self._done.emit(number, result, None)

    def _run_preview(self, function: Callable[[], object]) -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  (a click there will show the error)
            logger.debug("No preview: %s", error)
        else:
            self.previewed.emit(result)
