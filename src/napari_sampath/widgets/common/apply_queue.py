"""Takes results of any size into a session without holding up the window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, QTimer, Signal

from ...errors import SampathError
from ..background.workers import JobRunner

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...annotations import AnnotatedObject, Prepared
    from ...session import Change, Session
    from ..viewer.viewer_state import ViewerState

TRIES = 3
"""So often a result is worked out anew because the user has changed something meanwhile; then the window waits."""
PATIENCE_MS = 50
"""So long a result waits before it asks again whether a stroke is finished."""


@dataclass(slots=True)
class Result:
    """What comes into a session."""

    session: Session
    change: Change
    then: Callable[[list[AnnotatedObject]], object]
    """Gets the new objects."""
    around: Callable[[Callable[[], Any]], Any] = lambda change: change()
    """Calls what changes the session."""
    tries: int = TRIES


class Intake(QObject):
    """Takes in one result after the other; nothing that another job does ends it.

    What the user does meanwhile stays: a result is worked out anew around it, and waits for a stroke or a commit that
    is under way. A result for an image that is not in use any more is dropped.

    Args:
        state: The viewer state.
        parent: The owner; what is under way ends with it.
    """

    changed = Signal()
    """It has begun or come to an end."""
    message = Signal(str)
    """A sentence for the user: what is being done, or went wrong."""

    def __init__(self, state: ViewerState, parent: QObject) -> None:
        super().__init__(parent)
        self._state = state
        self.runner = JobRunner(self)
        self.runner.failed.connect(self._on_failed)
        self._queue: deque[Result] = deque()
        self._current: Result | None = None
        self._prepared: Prepared | None = None
        self._wait = QTimer(self)
        self._wait.setSingleShot(True)
        self._wait.setInterval(PATIENCE_MS)
        self._wait.timeout.connect(self._take)

    @property
    def busy(self) -> bool:
        """True until all results are in."""
        return self._current is not None or bool(self._queue)

    def add(self, result: Result) -> None:
        """Take a result in, after those that came before it."""
        self._queue.append(result)
        if self._current is None:
            self._next()

    def _next(self) -> None:
        self._current = self._queue.popleft() if self._queue else None
        if self._current is not None:
            self.message.emit("Taking over what was found …")
            self._work_out()
        self.changed.emit()

    def _work_out(self) -> None:
        if self._current is None or not self._in_use:
            self._next()
        else:
            self.runner.start(self._current.change.prepare(), "taking over what was found", self._on_prepared)

    @property
    def _in_use(self) -> bool:
        return self._current is not None and self._state.session is self._current.session

    def _on_prepared(self, prepared: Prepared | None) -> None:
        self._prepared = prepared
        self._take()

    def _take(self) -> None:
        current, annotator = self._current, self._state.annotator
        if current is None or annotator is None or not self._in_use:
            self._next()
            return
        if not annotator.settled:
            self._wait.start()
            return
        prepared, self._prepared = self._prepared, None
        again = False
        try:
            made = current.around(lambda: current.change.take(prepared))
            again = made is None and current.tries > 1
            if not again:
                current.then(current.around(current.change.apply) if made is None else made)
        except SampathError as error:
            self.message.emit(str(error))
        finally:
            if again:
                current.tries -= 1
                self._work_out()
            else:
                self._next()

    def _on_failed(self, sentence: str) -> None:
        self.message.emit(sentence)
        self._next()
