"""Warning before and after a run that the selected head was trained on images unlike the current one."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QWidget

from ..background.workers import JobRunner
from ..common.controls import column, label
from ..common.segment_jobs import check_job
from ..viewer.viewer_state import ViewerState

if TYPE_CHECKING:
    from ...session import Session


class HeadWarning(QWidget):
    """Compares the image with the training images of the selected head, and shows what differs.

    Args:
        state: The viewer state.
    """

    def __init__(self, state: ViewerState) -> None:
        super().__init__()
        self._state = state
        self.runner = JobRunner(self)
        self.text = label(wrap=True)
        column(self.text, parent=self)
        self._session: weakref.ref[Session] | None = None
        self._choice: tuple[str, float] | None = None
        self.hide()

    def show_for(self, head: str | None, magnification: float) -> None:
        """Compare the image in use with a head, unless that has been done."""
        session = self._state.session
        known = None if self._session is None else self._session()
        if session is None or head is None:
            self._session = self._choice = None
            self.runner.cancel()
            self.show_sentence("")
            return
        if session is known and self._choice == (head, magnification):
            return
        self._session, self._choice = weakref.ref(session), (head, magnification)
        self.show_sentence("")
        job = check_job(session.image, head, (0, 0, *session.hw), session.files.mpp, magnification)
        self.runner.start(
            job, "comparing the image with the training images", partial(self._on_checked, session)
        )

    def _on_checked(self, session: Session, sentence: str) -> None:
        if session is self._state.session:
            self.show_sentence(sentence)

    def show_sentence(self, sentence: str) -> None:
        """Show a sentence until another head or image is chosen; the run compares more than the check before it."""
        self.text.setText(sentence)
        self.setVisible(bool(sentence))
