"""Turn clicks, drags and strokes on the image into prompts of the session, and request their masks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from ...errors import attempt
from ..canvas.other_labels import object_under
from ..canvas.overlays.overlay_line import SceneLine
from ..canvas.strokes import lasso_mask, scribble_mask
from .mouse import Mode
from .preview import Preview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Image
    from napari.viewer import Viewer

    from ...annotations import AnnotatedObject
    from ...arrays import LocalMask
    from ...session import Answer, OverlapRule, Session
    from ..background.workers import PromptWorker
    from ..canvas.layer_sync import LayerSync

LASSO_COLOR = (1.0, 0.83, 0.0, 1.0)


def commit_message(session: Session, obj: AnnotatedObject) -> str:
    """Return the message after a commit: "nucleus, 12th object, saved."."""
    count = sum(other.class_id == obj.class_id for other in session.document.objects.values())
    return f"{session.classes.by_id(obj.class_id).name}, {ordinal(count)} object, saved."


def ordinal(number: int) -> str:
    """Return an ordinal number: "1st", "12th", "22nd"."""
    last = 0 if number // 10 % 10 == 1 else number % 10
    return f"{number:,}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


class PromptInput(QObject):
    """Builds the prompt of a session from mouse and key input and requests its masks (a `mouse.Target`).

    Args:
        viewer: The viewer.
        image: The image layer that is annotated.
        session: The session of that image.
        worker: Predicts masks for prompts in a thread.
        layer_sync: The layers of the session.
        parent: The Qt parent.
    """

    message = Signal(str)
    """Message for the user."""
    changed = Signal()
    """Emitted when the candidate or the preview setting changed."""

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        session: Session,
        worker: PromptWorker,
        layer_sync: LayerSync,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.mode = Mode.POINT
        """The current mouse mode; change it with `set_mode`."""
        self.brush_px = 12
        """Width of a scribble in image pixels."""
        self.preview = Preview(viewer, layer_sync.layers.prompts, session, worker, self)
        self._viewer = viewer
        self._image = image
        self._session = session
        self._worker = worker
        self._layer_sync = layer_sync
        self._lasso = SceneLine(viewer, layer_sync.layers.prompts, LASSO_COLOR)
        self._corner: tuple[float, float] | None = None
        """First corner of a box that is set by two clicks."""
        self.one_click = False
        """Whether each click and each box is committed immediately as one object."""
        worker.answered.connect(self._on_answered)
        session.waiting.committed.connect(self._on_committed)

    def close(self) -> None:
        """Disconnect from the worker and remove the preview and the outline."""
        self._worker.answered.disconnect(self._on_answered)
        self._session.waiting.committed.disconnect(self._on_committed)
        self.preview.close()
        self._lasso.close()

    def set_mode(self, mode: Mode) -> None:
        """Set the mouse mode; discard an unfinished box."""
        self.mode = mode
        self._corner = None
        self.preview.stop()

    def attempt(self, call: Callable[[], object]) -> bool:
        """Call a function; if it raises a `SampathError`, show the message and return False."""
        return attempt(call, self.message.emit)

    # Mouse (mouse.Target)

    def click(self, x: float, y: float, positive: bool) -> None:
        """Handle a click at (x, y): a point, the corner of a box, or an object to use as mask prompt."""
        if positive and self.mode is Mode.BOX:
            self._click_corner(x, y)
        elif positive and self.mode in (Mode.MASK, Mode.LASSO):
            self._click_object(x, y)
        else:
            self.attempt(partial(self._session.prompts.add_point, x, y, positive=positive))
            self.ask()
            if positive:
                self._commit_click()

    def drag_box(self, x0: float, y0: float, x1: float, y1: float, done: bool, further: bool = False) -> None:
        """Show a box, clipped to the image, while it is dragged; use it as prompt when it is `done`.

        With `further`, add the box to the existing boxes, as the prompt for another object.
        """
        self.preview.stop()
        height, width = self._session.hw
        x0, x1 = sorted(float(np.clip(x, 0, width)) for x in (x0, x1))
        y0, y1 = sorted(float(np.clip(y, 0, height)) for y in (y0, y1))
        self._layer_sync.show_box((x0, y0, x1, y1), further)
        if done:
            if not self.attempt(lambda: self._session.prompts.set_box(x0, y0, x1, y1, further)):
                self._layer_sync.show_box(None)
            self.ask()
            if not further:
                self._commit_click()

    def scribble(self, path_xy: Sequence[tuple[float, float]], done: bool) -> None:
        """Show a scribble while it is painted; use it as mask prompt when it is `done`."""
        mask = scribble_mask(path_xy, self.brush_px, self._session.hw)
        if mask.bitmap.size and done:
            self.use_mask(mask)
        elif mask.bitmap.size:
            self._layer_sync.show_scribble(mask)

    def lasso(self, path_xy: Sequence[tuple[float, float]], done: bool) -> None:
        """Show an outline while it is drawn; use its interior as mask prompt when it is `done`."""
        if not done:
            self._lasso.show(np.asarray(path_xy))
            return
        self._lasso.hide()
        mask = lasso_mask(path_xy, self._session.hw)
        if mask.bitmap.size:
            self.use_mask(mask)
        else:
            self.message.emit("The outline encloses no pixel of the image; draw around an object.")

    def hover(self, xy: tuple[float, float] | None) -> None:
        """Show the preview for a click at (x, y); None hides the preview."""
        if xy is None:
            self.preview.stop()
        else:
            self.preview.move(*xy)

    def use_mask(self, mask: LocalMask) -> None:
        """Use a mask as prompt."""
        self._layer_sync.wipe_scribble()
        self.attempt(lambda: self._session.prompts.set_mask(mask))
        self.ask()

    # Keys

    def toggle_preview(self) -> None:
        """Switch the preview on or off."""
        self.preview.on = not self.preview.on
        self.message.emit(f"The preview is {'on' if self.preview.on else 'off'}.")
        self.changed.emit()

    def commit(self, overlap: OverlapRule | None = None) -> None:
        """Commit the prompt to the active class, at once or when its mask is ready.

        The next click begins another object in either case. If a question about an overlap is open, a rule answers it.

        Args:
            overlap: Rule for objects under the candidate; by default the rule of the session.
        """
        waiting = self._session.waiting
        if waiting.overlap is not None and overlap is not None:
            waiting.decide(overlap)
        elif not self._session.prompts.state.empty:
            self.attempt(lambda: self._session.commit_when_ready(overlap))
            if len(waiting) and waiting.overlap is None:
                self.message.emit(
                    f"Masks still being computed: {len(waiting)}; each is saved when it is ready."
                )
        elif len(waiting):
            waiting.land()
        else:
            self.message.emit("There is nothing to commit; click on an object in the image first.")

    def clear(self) -> None:
        """Clear the prompt and an unfinished box or scribble."""
        self._corner = None
        self._session.prompts.clear()
        self._layer_sync.wipe_scribble()

    def remove_last_prompt(self) -> None:
        """Remove the newest point, box or mask from the prompt; with *one click = one object*, the newest object."""
        if self.one_click and self._session.prompts.state.empty:
            self.attempt(self._session.undo)
        else:
            self.attempt(self._session.prompts.remove_last)
        self.ask()

    def toggle_one_click(self) -> None:
        """Switch *one click = one object* on or off."""
        self.one_click = not self.one_click
        text = "each click is saved as one object; Backspace removes the last" if self.one_click else "off"
        self.message.emit(f"One click = one object: {text}.")
        self.changed.emit()

    def next_candidate(self) -> None:
        """Show the next candidate mask."""
        self._session.prompts.next_candidate()
        self.changed.emit()

    def ask(self) -> None:
        """Request the masks of the current prompt; if the preview already has them, show them at once."""
        session = self._session
        request = session.prompts.request()
        if request is None:
            return
        self.preview.stop()
        answer = session.prompts.answerer.from_preview(request)
        if answer is not None:
            self._on_answered((session, answer))
        else:
            self._worker.submit(lambda: (session, session.prompts.answerer.answer(request)), request.state)

    def _on_answered(self, result: tuple[Session, Answer]) -> None:
        session, answer = result
        if session is self._session and session.prompts.accept(answer):
            self.changed.emit()

    def _on_committed(self, obj: AnnotatedObject, remark: str) -> None:
        self.message.emit(f"{commit_message(self._session, obj)} {remark}".rstrip())

    def _commit_click(self) -> None:
        """With *one click = one object*, commit the prompt that was just set."""
        if self.one_click and self.mode in (Mode.POINT, Mode.BOX) and not self._session.prompts.state.empty:
            self.attempt(lambda: self._session.commit_when_ready(only_new=True))

    def _click_corner(self, x: float, y: float) -> None:
        if self._corner is None:
            self._corner = (x, y)
            self.message.emit("First corner set; click the opposite corner, or drag a box.")
            return
        x0, y0 = self._corner
        self._corner = None
        self.drag_box(x0, y0, x, y, done=True)

    def _click_object(self, x: float, y: float) -> None:
        touched: list[int] = []
        self.attempt(lambda: touched.append(self._session.proposals.touch(round(y), round(x))))
        object_id = sum(touched)
        if object_id:
            self.attempt(lambda: self._session.prompts.set_object(object_id))
            self.ask()
            return
        mask = object_under(self._viewer, self._image, x, y, self._session.hw)
        if mask is not None:
            self.use_mask(mask)
        else:
            self.message.emit(
                "No visible label layer has an object here; click on an object, or drag to paint over one."
            )
