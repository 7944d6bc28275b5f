"""Prepares what the camera shows for clicks, once it has come to rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from ..background.workers import JobRunner
from ..canvas.viewport import box_in_view, camera

if TYPE_CHECKING:
    from ...predict import Model
    from ...session import Session
    from .viewer_state import ViewerState

REST_MS = 300
"""So long the camera keeps still before anything is computed for where it is."""


class ViewPrefetcher(QObject):
    """Encodes the tiles in view, those in the middle first, without a word of it.

    It waits for what the state computes and for prompts, and ends with the image or the model.

    Args:
        state: State of the viewer.
    """

    def __init__(self, state: ViewerState) -> None:
        super().__init__(state)
        self._state = state
        self._runner = JobRunner(self)
        self._moved = False
        """Whether the camera was moved since its view was last prepared."""
        self._used: tuple[Session | None, Model | None] = (None, None)
        """What the newest job was started for."""
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._prepare)
        self._events = (camera(state.viewer).events.center, camera(state.viewer).events.zoom)
        for event in self._events:
            event.connect(self._on_camera)
        state.changed.connect(self._on_changed)
        state.runner.finished.connect(self._on_free)

    def skip(self) -> None:
        """Note that somebody else prepares what is in view now."""
        self._moved = False

    def close(self) -> None:
        """Stop, and let go of the viewer."""
        for event in self._events:
            event.disconnect(self._on_camera)
        self._state.runner.finished.disconnect(self._on_free)
        self._rest.stop()
        self._runner.cancel()

    def _on_camera(self) -> None:
        self._moved = True
        self._rest.start()

    def _on_free(self) -> None:
        if self._moved:
            self._rest.start()

    def _on_changed(self) -> None:
        session, model = self._used
        if self._state.session is not session or self._state.model is not model:
            self._runner.cancel()
            self._used = None, None

    def _prepare(self) -> None:
        state = self._state
        session, image = state.session, state.image
        if session is None or image is None:
            return
        view = box_in_view(state.viewer, image, session.hw)
        session.prompts.look(view)
        if not self._moved or not state.ready or state.runner.busy:
            return
        if not state.prompts.idle:
            self._rest.start()
            return
        self._moved = False
        job = session.prompts.view_job(view)
        if job is not None:
            self._used = session, state.model
            self._runner.start(job, "preparing what is in view", lambda _count: None)
