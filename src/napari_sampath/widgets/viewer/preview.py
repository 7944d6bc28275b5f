"""Draw the preview: the outline of the mask that a click at the mouse position would give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject

from ..canvas.napari_internals.napari_canvas import canvas_of
from ..canvas.overlays.overlay_line import SceneLine, outline_segments

if TYPE_CHECKING:
    from napari.layers import Points
    from napari.viewer import Viewer

    from ...arrays import FloatArray
    from ...session import Answer, PromptRequest, Session
    from ..background.workers import PromptWorker

PREVIEW_COLOR = (0.0, 0.95, 1.0, 1.0)


class Preview(QObject):
    """Predicts the mask for a click at the mouse position, while there is no prompt, and draws its outline.

    Args:
        viewer: The viewer.
        over: The points layer above which the outline is drawn.
        session: The session; it keeps the last preview, in case the user clicks there.
        worker: Computes the previews in a thread.
    """

    def __init__(
        self,
        viewer: Viewer,
        over: Points,
        session: Session,
        worker: PromptWorker,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.line = SceneLine(viewer, over, PREVIEW_COLOR)
        self.answer: Answer | None = None
        """The prediction whose outline is drawn."""
        self._on = True
        self._session = session
        self._worker = worker
        self._request: PromptRequest | None = None
        native = getattr(canvas_of(viewer), "native", None)
        if native is not None:
            native.installEventFilter(self)
        worker.previewed.connect(self._on_previewed)

    @property
    def on(self) -> bool:
        """Whether the preview is enabled."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        self._on = on
        if not on:
            self.stop()

    def move(self, x: float, y: float) -> None:
        """Follow the mouse to (x, y) in image pixels."""
        request = self._session.prompts.preview(x, y) if self._on else None
        if request is None:
            self.stop()
            return
        self._request = request
        self._worker.submit_preview(lambda: self._compute(request))

    def stop(self) -> None:
        """Hide the preview until the mouse moves again."""
        self._request = self.answer = None
        self._worker.drop_preview()
        self.line.hide()

    def close(self) -> None:
        """Disconnect from the worker and remove the outline."""
        self._worker.previewed.disconnect(self._on_previewed)
        self.stop()
        self.line.close()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Hide the preview when the mouse leaves the canvas."""
        if event.type() == QEvent.Type.Leave:
            self.stop()
        return bool(super().eventFilter(watched, event))

    def _compute(self, request: PromptRequest) -> tuple[Session, Answer, FloatArray]:
        """Predict the candidates and return them with the outline of the first; runs in the worker's thread."""
        answer = self._session.prompts.answerer.preview(request)
        return self._session, answer, outline_segments(answer.candidates[0].mask)

    def _on_previewed(self, result: tuple[Session, Answer, FloatArray]) -> None:
        session, answer, segments = result
        request = self._request
        if session is self._session and request is not None and answer.generation == request.generation:
            self.answer = answer
            self.line.show(segments, segments=True) if len(segments) else self.line.hide()
