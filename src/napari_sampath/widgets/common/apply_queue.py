"""Apply large changes to a session one after the other without blocking the window."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from qtpy.QtCore import QObject, QTimer, Signal

from ...annotations import AnnotatedObject, Prepared
from ...errors import SampathError
from ...session import Change, Session
from ..background.workers import JobRunner
from ..viewer.viewer_state import ViewerState

MAX_ATTEMPTS = 3
"""Number of attempts to prepare a change in the background; the next attempt blocks the window, except for changes that
write files beside the journal, which have too many objects for that."""
RETRY_MS = 50
"""Interval at which a prepared change checks whether the user has finished a stroke."""


@dataclass(slots=True)
class _Pending:
    """A change that is waiting to be applied; see `ApplyQueue.add`."""

    session: Session
    change: Change
    on_done: Callable[[list[AnnotatedObject]], object]
    context: Callable[[], AbstractContextManager[object]]
    attempts: int = MAX_ATTEMPTS


class ApplyQueue(QObject):
    """Applies changes one after the other, independent of other jobs.

    Edits that the user makes in the meantime are kept: the change is prepared again on top of them, and it is applied
    only when the current stroke or commit is finished. Changes to a session that is no longer in use are dropped, with
    a message.
    """

    changed = Signal()
    """Emitted when a change was started or finished."""
    message = Signal(str)
    """Message for the user."""

    def __init__(self, state: ViewerState, parent: QObject | None) -> None:
        super().__init__(parent)
        self._state = state
        self.runner = JobRunner(self)
        self.runner.failed.connect(self._on_failed)
        self._queue: deque[_Pending] = deque()
        self._current: _Pending | None = None
        self._prepared: Prepared | None = None

    @property
    def busy(self) -> bool:
        """Whether a change is waiting or being applied."""
        return self._current is not None or bool(self._queue)

    def add(
        self,
        session: Session,
        change: Change,
        on_done: Callable[[list[AnnotatedObject]], object],
        context: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Queue a change. It is applied within `context`, and `on_done` then receives the new objects."""
        self._queue.append(_Pending(session, change, on_done, context))
        if self._current is None:
            self._next()

    def _next(self) -> None:
        self._current = self._queue.popleft() if self._queue else None
        if self._current is not None:
            self.message.emit("Adding the objects …")
            self._prepare()
        self.changed.emit()

    def _prepare(self) -> None:
        if self._current is None or self._state.session is not self._current.session:
            self._drop()
        else:
            self.runner.start(self._current.change.prepare(), "adding the objects", self._on_prepared)

    def _on_prepared(self, prepared: Prepared | None) -> None:
        self._prepared = prepared
        self._take()

    def _take(self) -> None:
        current, annotator = self._current, self._state.annotator
        if current is None or annotator is None or annotator.session is not current.session:
            self._drop()
            return
        if not annotator.settled:
            QTimer.singleShot(RETRY_MS, self._take)
            return
        prepared, self._prepared = self._prepared, None
        retry = False
        try:
            with current.context():
                objects = current.change.take(prepared)
                is_large = prepared is not None and bool(prepared.files)
                retry = objects is None and (current.attempts > 1 or is_large)
                if objects is None and not retry:
                    objects = current.change.apply()
            if objects is not None:
                current.on_done(objects)
        except SampathError as error:
            self.message.emit(str(error))
        finally:
            if retry:
                current.attempts -= 1
                self._prepare()
            else:
                self._next()

    def _drop(self) -> None:
        """Drop the change to an image that is no longer in use, and begin the next one."""
        if self._current is not None:
            self.message.emit(
                f"The objects were not added, because '{self._current.session.name}' is no longer in use; return to it "
                "and try again."
            )
        self._next()

    def _on_failed(self, message: str) -> None:
        self.message.emit(message)
        self._next()
