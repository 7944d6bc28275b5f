"""Encode the tiles in view in the background after the camera has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from qtpy.QtCore import QObject, QTimer

from ..background.workers import JobRunner
from ..canvas.viewport import box_in_view, camera

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from ...predict import Model
    from ...session import Session
    from ..background.workers import PromptWorker

SETTLE_MS = 300
"""Time without camera movement after which the view is encoded."""


class PrefetchSource(Protocol):
    """The parts of the viewer state that the prefetcher reads."""

    viewer: Viewer
    image: Image | None
    model: Model | None
    ready: bool
    runner: JobRunner
    prompts: PromptWorker
    changed: Any

    @property
    def session(self) -> Session | None:
        """The session of the current image."""


class ViewPrefetcher(QObject):
    """Encodes the tiles in view, from the centre outward, without showing progress.

    It starts only when no job of the viewer and no prompt is running, and stops when the image or the model changes.

    Args:
        state: The state of the viewer.
        parent: The Qt parent.
    """

    def __init__(self, state: PrefetchSource, parent: QObject) -> None:
        super().__init__(parent)
        self._state = state
        self.runner = JobRunner(self)
        self._moved = False
        """Whether the camera has moved since the view was last encoded."""
        self._target: tuple[Session | None, Model | None] = (None, None)
        """Session and model of the last job."""
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self._prefetch)
        self._events = (camera(state.viewer).events.center, camera(state.viewer).events.zoom)
        for event in self._events:
            event.connect(self._on_camera)
        state.changed.connect(self._on_changed)
        state.runner.finished.connect(self._on_free)

    def skip(self) -> None:
        """Do not encode the current view, because another job encodes it."""
        self._moved = False

    def close(self) -> None:
        """Stop and disconnect from the viewer."""
        for event in self._events:
            event.disconnect(self._on_camera)
        self._state.runner.finished.disconnect(self._on_free)
        self._settle.stop()
        self.runner.cancel()

    def _on_camera(self) -> None:
        self._moved = True
        self._settle.start()

    def _on_free(self) -> None:
        if self._moved:
            self._settle.start()

    def _on_changed(self) -> None:
        session, model = self._target
        if self._state.session is not session or self._state.model is not model:
            self.runner.cancel()
            self._target = None, None

    def _prefetch(self) -> None:
        state = self._state
        session, image = state.session, state.image
        if session is None or image is None:
            return
        view = box_in_view(state.viewer, image, session.hw)
        session.prompts.set_view(view)
        if not self._moved or not state.ready or state.runner.busy:
            return
        if not state.prompts.idle:
            self._settle.start()
            return
        self._moved = False
        job = session.prompts.view_job(view)
        if job is not None:
            self._target = session, state.model
            self.runner.start(job, "encoding the view", lambda _count: None)
