"""The running background work of a viewer, from all docks."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from qtpy.QtCore import QObject, Signal

from ...jobs import Progress
from .workers import JobRunner


@dataclass(slots=True)
class _Watched:
    runner: weakref.ref[JobRunner]
    doing: str = ""
    """Description of the running job; empty if there is none."""
    progress: Progress | None = None


class Activity(QObject):
    """Watches the job runners of a viewer and shows the job that started last."""

    changed = Signal()
    """Emitted when a job started, reported progress or ended."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.failure = ""
        """Message of the job that failed last, until another one starts."""
        self._watched: dict[int, _Watched] = {}
        """Runners in the order in which their newest job started."""

    @property
    def doing(self) -> str:
        """Short description of the job that started last and is still running; empty if there is none."""
        newest = self._newest()
        return "" if newest is None else newest.doing

    @property
    def progress(self) -> Progress | None:
        """Progress of that job."""
        newest = self._newest()
        return None if newest is None else newest.progress

    @property
    def count(self) -> int:
        """Number of running jobs."""
        return sum(bool(watched.doing) for watched in self._watched.values())

    def watch(self, *runners: JobRunner) -> None:
        """Show the jobs of these runners until `forget` is called with their ids, or they are deleted."""
        for runner in runners:
            key = id(runner)
            if key in self._watched and self._watched[key].runner() is runner:
                continue
            self._watched[key] = _Watched(weakref.ref(runner))
            runner.started.connect(partial(self._on_started, key))
            runner.reported.connect(partial(self._on_reported, key))
            runner.finished.connect(partial(self._on_finished, key))
            runner.failed.connect(self._on_failed)

    def forget(self, keys: Iterable[int]) -> None:
        """Stop showing the jobs of the runners with these ids."""
        # Slots of `destroyed` crash if the garbage collector has cleared them before it deletes the runner.
        for key in keys:
            self._watched.pop(key, None)

    def cancel(self) -> None:
        """Cancel the job that started last."""
        newest = self._newest()
        runner = None if newest is None else newest.runner()
        if runner is not None:
            runner.cancel()

    def _newest(self) -> _Watched | None:
        running = (watched for watched in reversed(self._watched.values()) if watched.doing)
        return next((watched for watched in running if watched.runner() is not None), None)

    def _on_started(self, key: int, doing: str) -> None:
        watched = self._watched.pop(key, None)
        if watched is not None:
            watched.doing, watched.progress, self.failure = doing, None, ""
            self._watched[key] = watched
            self.changed.emit()

    def _on_reported(self, key: int, progress: Progress) -> None:
        if key in self._watched:
            self._watched[key].progress = progress
            self.changed.emit()

    def _on_finished(self, key: int) -> None:
        if key in self._watched:
            self._watched[key].doing, self._watched[key].progress = "", None
            self.changed.emit()

    def _on_failed(self, message: str) -> None:
        self.failure = message
        self.changed.emit()
