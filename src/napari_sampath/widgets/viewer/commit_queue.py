"""Compute the masks of waiting commits, and large changes, in threads, even for images that are not in use."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject

from ...files.messages import plural
from ..background.workers import JobRunner

if TYPE_CHECKING:
    from ...session import Answer, Session
    from ...session.large_changes import Outcome
    from ..background.workers import PromptWorker

logger = logging.getLogger(__name__)

CLOSE_S = 20.0
"""Maximum time for which closing a session waits for the masks of its last commits, in seconds."""


class CommitQueue(QObject):
    """Serves `Session.waiting` and `Session.large_changes` of all sessions of a viewer.

    Args:
        worker: Predicts masks for prompts in a thread.
        in_use: Returns the session in use, whose messages the annotator shows.
        say: Receives the messages of the other sessions for the user.
        parent: The Qt parent.
    """

    def __init__(
        self,
        worker: PromptWorker,
        in_use: Callable[[], Session | None],
        say: Callable[[str], object],
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._worker = worker
        self._in_use = in_use
        self._say = say
        self._slots: dict[Session, tuple[Callable[[], None], Callable[[str], None]]] = {}
        self.runner = JobRunner(self)
        self._served: Session | None = None
        """The session whose large change is being computed."""
        self.runner.failed.connect(self._on_failed)
        worker.answered.connect(self._on_answered)
        worker.dropped.connect(self._on_dropped)

    def follow(self, session: Session) -> None:
        """Serve a session until `release`."""
        slot, say = self._slots[session] = partial(self.ask, session), partial(self._on_message, session)
        session.message.connect(say)
        session.waiting.changed.connect(slot)
        session.large_changes.changed.connect(self._compute)

    def release(self, session: Session) -> None:
        """Carry out the waiting commits and the large changes of a session that is about to be closed."""
        slot, say = self._slots.pop(session, (None, None))
        if slot is None or say is None:
            return
        session.waiting.changed.disconnect(slot)
        session.large_changes.changed.disconnect(self._compute)
        session.large_changes.finish()  # Commits that would be asked about wait again.
        missing = session.waiting.finish(CLOSE_S)
        session.large_changes.finish()
        if session is self._served:
            self.runner.cancel()
            self._compute()
        if missing:
            verb = "was" if missing == 1 else "were"
            objects = plural(missing, "object")
            text = f"{objects} {verb} not added, because the image was closed before the masks were ready"
            logger.warning("'%s': %s", session.name, text)  # The window may be closing, too.
            session.message.emit(f"{text}; open it again, and click there.")
        session.message.disconnect(say)

    def _on_message(self, session: Session, text: str) -> None:
        if session is not self._in_use():
            self._say(f"'{session.name}': {text}")

    def ask(self, session: Session) -> None:
        """Request the masks of all waiting commits of a session that have none and are not requested."""
        for item in session.waiting.items:
            if item.answer is not None or self._worker.keep(item.state):
                continue
            request = session.waiting.request(item)
            if request is not None:
                answer = partial(session.prompts.answerer.answer, request)
                self._worker.submit(partial(_answer, session, answer), item.state, keep=True)

    def _compute(self) -> None:
        """Compute the first large change of a session, unless another one is being computed."""
        if self.runner.busy:
            return
        self._served = next((session for session in self._slots if len(session.large_changes)), None)
        job = None if self._served is None else self._served.large_changes.job()
        if job is not None:
            self.runner.start(job, "changing a large area", self._on_computed)

    def _on_computed(self, outcome: Outcome) -> None:
        if self._served in self._slots:
            self._served.large_changes.accept(outcome)
        self._compute()

    def _on_failed(self, message: str) -> None:
        if self._served in self._slots:
            self._served.large_changes.fail(message)
        self._compute()

    def _on_answered(self, result: tuple[Session, Answer]) -> None:
        session, answer = result
        if session in self._slots:
            session.waiting.accept(answer)

    def _on_dropped(self, state: object, message: str) -> None:
        for session in self._slots:
            for item in session.waiting.items:
                if item.state is state:
                    session.waiting.fail(item.state, message)


def _answer(session: Session, answer: Callable[[], Answer]) -> tuple[Session, Answer]:
    return session, answer()
