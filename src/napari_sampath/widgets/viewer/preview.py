"""The preview: the outline of what a click would give follows the mouse."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject

from ..canvas.napari_internals.napari_canvas import canvas_of
from ..canvas.overlay_line import SceneLine, outline_segments

if TYPE_CHECKING:
    from napari.layers import Points
    from napari.viewer import Viewer

    from ...arrays import FloatArray
    from ...session import Answer, PromptRequest, Session
    from ..background.workers import PromptWorker

PREVIEW_COLOR = (0.0, 0.95, 1.0, 1.0)


class Hover(QObject):
    """Asks for what a click at the mouse would give and draws its outline; nothing of it is kept.

    Args:
        viewer: The viewer.
        over: The points layer over which the outline is drawn.
        session: The session.
        worker: Answers, when no real prompt waits.
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
        """What is shown."""
        self._on = True
        self._session = session
        self._worker = worker
        self._asked: PromptRequest | None = None
        self._newest: tuple[PromptRequest, Answer] | None = None
        """The preview that was made last; of the worker's thread."""
        native = getattr(canvas_of(viewer), "native", None)
        if native is not None:
            native.installEventFilter(self)
        worker.previewed.connect(self._on_previewed)

    @property
    def on(self) -> bool:
        """Whether there is a preview at all."""
        return self._on

    @on.setter
    def on(self, on: bool) -> None:
        self._on = on
        if not on:
            self.stop()

    def move(self, x: float, y: float) -> None:
        """Follow the mouse to (x, y) in image pixels."""
        request = self._session.preview(x, y) if self._on else None
        if request is None:
            self.stop()
            return
        self._asked = request
        self._worker.submit_preview(lambda: self._look(request))

    def stop(self) -> None:
        """Show nothing until the mouse moves again."""
        self._asked = self.answer = None
        self._worker.drop_preview()
        self.line.hide()

    def known(self, request: PromptRequest) -> Answer | None:
        """Return the answer to a click where the preview shows it already; None if it has to be asked for."""
        return None if self.answer is None else self.answer.serve(request)

    def answer_prompt(self, request: PromptRequest) -> Answer:
        """Answer a prompt in the worker's thread: by the preview that was under way, if it shows what was asked."""
        served = None
        if self._newest is not None and self._newest[0].tiles is request.tiles:
            served = self._newest[1].serve(request)
        return served or self._session.answer(request)

    def close(self) -> None:
        """Let go of the viewer."""
        self._worker.previewed.disconnect(self._on_previewed)
        self.stop()
        self.line.close()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notice that the mouse left the canvas."""
        if event.type() == QEvent.Type.Leave:
            self.stop()
        return bool(super().eventFilter(watched, event))

    def _on_previewed(self, result: tuple[Session, Answer, FloatArray]) -> None:
        session, answer, segments = result
        asked = self._asked
        if session is self._session and asked is not None and answer.generation == asked.generation:
            self.answer = answer
            self.line.show(segments, segments=True) if len(segments) else self.line.hide()

    def _look(self, request: PromptRequest) -> tuple[Session, Answer, FloatArray]:
        answer = self._session.answer(request)
        self._newest = request, answer
        return self._session, answer, outline_segments(answer.candidates[0].mask)
