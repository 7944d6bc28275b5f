"""Binds one viewer and one image layer to one session: mouse and keys in, layers out."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QObject, Signal

from ...arrays import LocalMask
from ...errors import SampathError
from ..canvas.area_layer import AreaView
from ..canvas.label_tools import drop_unfinished
from ..canvas.layer_sync import LayerSync
from ..canvas.other_labels import object_under
from ..canvas.overlay_line import SceneLine
from ..canvas.strokes import lasso_mask, scribble_mask
from ..canvas.viewport import box_in_view
from .key_settings import load_keys
from .keys import KeyMap
from .mouse import Mode, MouseTool
from .object_actions import ObjectActions
from .preview import Preview

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.layers import Image
    from napari.viewer import Viewer

    from ...annotations import Box
    from ...session import Answer, OverlapRule, Session
    from ..background.workers import PromptWorker


LASSO_COLOR = (1.0, 0.83, 0.0, 1.0)


def completed(agreed: int) -> str:
    """Ask whether an area is complete, and say how many proposals of a head that accepts."""
    objects = {0: "", 1: "; you agreed with 1 object of the head"}
    return f"Complete{objects.get(agreed, f'; you agreed with {agreed} objects of the head')}. Undo takes it back."


class Annotator(QObject):
    """Shows a session in a viewer and turns clicks, drags, strokes and keys into calls of the session.

    It holds no annotation of its own: the session does, and has every commit on disk before it is painted.
    Closing this object, its layers or the viewer loses nothing.

    Args:
        viewer: The viewer (not napari's public proxy of it).
        image: The image layer being annotated.
        session: The session made from its pixels.
        worker: The thread that answers prompts.
    """

    message = Signal(str)
    """A sentence for the user."""
    changed = Signal()
    """Prompts, candidates, classes, history or the mode changed."""

    def __init__(
        self,
        viewer: Viewer,
        image: Image,
        session: Session,
        worker: PromptWorker,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.image = image
        self.session = session
        self.brush_px = 12
        """Width of a scribble in image pixels."""
        self._mode = Mode.POINT
        self._corner: tuple[float, float] | None = None
        self._late: Callable[[], None] | None = None
        self._worker = worker
        self.display = LayerSync(viewer, image, session, self.message.emit)
        self.layers = self.display.layers
        self.area_view = AreaView(viewer, image, session)
        self.preview = Preview(viewer, self.layers.prompts, session, worker, self)
        self._outline = SceneLine(viewer, self.layers.prompts, LASSO_COLOR)
        self.mouse = MouseTool(viewer, image, self)
        self.tools = ObjectActions(self)
        self.key_choice = load_keys((viewer, image, self.layers.classes))
        self.keys = KeyMap(viewer, [image, *self.layers.all()], self, self.mouse, self.key_choice.keys)
        self._signals = (
            session.prompts_changed,
            session.candidate_changed,
            session.document_changed,
            session.classes_changed,
        )
        for signal in self._signals:
            signal.connect(self._on_session)
        session.message.connect(self._on_message)
        worker.answered.connect(self._on_answered)
        worker.failed.connect(self._on_failed)
        self.layers.classes.events.mode.connect(self._on_layer_mode)
        self.mode = Mode.POINT

    def close(self) -> None:
        """Give mouse and keys back and take the helper layers away; the label layers stay for the user."""
        for signal in self._signals:
            signal.disconnect(self._on_session)
        self.session.message.disconnect(self._on_message)
        self._worker.answered.disconnect(self._on_answered)
        self._worker.failed.disconnect(self._on_failed)
        self.layers.classes.events.mode.disconnect(self._on_layer_mode)
        self.keys.close()
        self.tools.close()
        self.mouse.close()
        self.preview.close()
        self._outline.close()
        self.area_view.close()
        self.display.close()

    @property
    def settled(self) -> bool:
        """False while a stroke is drawn, or a commit waits for its answer: the image must not change under them."""
        return self._late is None and not self.display.drawing

    # What the mouse does (mouse.Target)

    @property
    def mode(self) -> Mode:
        """What the mouse does on the image."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        self._corner = self._late = None
        self.preview.stop()
        brush = mode in (Mode.BRUSH, Mode.ERASE)
        labels = self.layers.classes
        labels.mode = {Mode.BRUSH: "paint", Mode.ERASE: "erase"}.get(mode, "pan_zoom")
        self.viewer.layers.selection.active = labels if brush else self.image
        self.mouse.keep_double_click_zoom(mode in (Mode.MOVE, Mode.BRUSH, Mode.ERASE))
        if brush:
            labels.selected_label = self.session.active_class
        self.changed.emit()

    def click(self, x: float, y: float, positive: bool) -> None:
        """Take a click at (x, y): a point, the corner of a box, or the object to use as mask prompt."""
        if positive and self._mode is Mode.BOX:
            self._click_corner(x, y)
        elif positive and self._mode in (Mode.MASK, Mode.LASSO):
            self._click_object(x, y)
        else:
            self.attempt(partial(self.session.prompts.add_point, x, y, positive=positive))
            self.ask()

    def drag_box(self, x0: float, y0: float, x1: float, y1: float, done: bool, further: bool = False) -> None:
        """Show a box while it is dragged, cut at the image's edge, and make it the prompt when it is done.

        A further one is added to those before as one more object.
        """
        self.preview.stop()
        height, width = self.session.hw
        x0, x1 = sorted(float(np.clip(x, 0, width)) for x in (x0, x1))
        y0, y1 = sorted(float(np.clip(y, 0, height)) for y in (y0, y1))
        self.display.show_box((x0, y0, x1, y1), further)
        if done:
            if not self.attempt(lambda: self.session.prompts.set_box(x0, y0, x1, y1, further)):
                self.display.show_box(None)
            self.ask()

    def scribble(self, path_xy: Sequence[tuple[float, float]], done: bool) -> None:
        """Show a scribble while it is painted, and make it the mask prompt when it is done."""
        mask = scribble_mask(path_xy, self.brush_px, self.session.hw)
        if mask.bitmap.size == 0:
            return
        if done:
            self.use_mask(mask)
        else:
            self.display.show_scribble(mask)

    def lasso(self, path_xy: Sequence[tuple[float, float]], done: bool) -> None:
        """Show an outline while it is drawn, and make its inside the mask prompt when it is done."""
        if not done:
            self._outline.show(np.asarray(path_xy))
            return
        self._outline.hide()
        mask = lasso_mask(path_xy, self.session.hw)
        if mask.bitmap.size:
            self.use_mask(mask)
        else:
            self.message.emit("The outline has no inside in the image; draw around a structure.")

    def hover(self, xy: tuple[float, float] | None) -> None:
        """Preview what a click at (x, y) would give; None stops it."""
        if xy is None:
            self.preview.stop()
        else:
            self.preview.move(*xy)

    def use_mask(self, mask: LocalMask) -> None:
        """Make a mask the prompt."""
        self.display.wipe_scribble()
        self.attempt(lambda: self.session.prompts.set_mask(mask))
        self.ask()

    def use_object(self, instance_id: int) -> None:
        """Make a committed object the mask prompt, to be refined."""
        self.attempt(lambda: self.session.prompts.set_object(instance_id))
        self.ask()

    # What the keys do

    def toggle_preview(self) -> None:
        """Switch the preview under the mouse on or off."""
        self.preview.on = not self.preview.on
        self.message.emit(f"The preview under the mouse is {'on' if self.preview.on else 'off'}.")
        self.changed.emit()

    def commit(self, overlap: OverlapRule | None = None) -> None:
        """Commit the candidate to the active class; to objects under it happens what the session says, or `overlap`.

        If the prompt is not answered yet that happens when it is, unless something else is done before.
        """
        if self.session.prompts.state.empty:
            self.message.emit("There is nothing to commit yet; click on a structure first.")
        elif self.session.prompts.answered:
            self.attempt(lambda: self.session.commit(overlap))
        else:
            self._late = partial(self.commit, overlap)
            self.message.emit("The mask is not there yet; it is committed once it is.")
            if self._worker.idle:
                self.ask()

    def complete(self, whole: bool) -> None:
        """Say that the view, or the whole image, is annotated to the end, and agree with the objects in it."""
        agreed: list[int] = []
        if self.attempt(lambda: agreed.extend(self.session.area.complete(self._box(whole)))):
            self.message.emit(completed(len(agreed)))

    def reopen(self) -> None:
        """Take back that what is in view is annotated to the end; the annotations stay."""
        if self.attempt(lambda: self.session.area.mark(self._box(False), False)):
            self.message.emit(
                "What is in view counts as annotated only where there are annotations of yours."
            )

    def clear(self) -> None:
        """Leave a question, an object tool or what napari's tools have begun; if there is none, drop the prompt."""
        self._late = None
        if self.tools.cancel() or drop_unfinished(self.display.layers.classes):
            return
        self._corner = None
        self.session.prompts.clear()
        self.display.wipe_scribble()

    def remove_last_prompt(self) -> None:
        """Take the newest point, box or mask of the prompt back."""
        self.attempt(self.session.prompts.remove_last)
        self.ask()

    def next_candidate(self) -> None:
        """Show the next of the candidate masks."""
        self.session.prompts.next_candidate()
        self.changed.emit()

    def undo(self) -> None:
        """Undo the last step of the session; before it what napari's tools have begun, a polygon or an outline."""
        if drop_unfinished(self.display.layers.classes):
            return
        self._time_travel(self.session.undo, "There is nothing to undo.")

    def redo(self) -> None:
        """Redo the step undone last."""
        self._time_travel(self.session.redo, "There is nothing to redo.")

    def choose_class(self, number: int) -> None:
        """Draw with the class in a place of the list, counted from 1."""
        classes = list(self.session.classes)
        if number <= len(classes):
            self.activate(classes[number - 1].id)

    def activate(self, class_id: int) -> None:
        """Draw with another class."""
        self.session.active_class = class_id
        self.session.classes_changed.emit()

    def cursor_xy(self) -> tuple[float, float]:
        """Return where the mouse is, (x, y) in image pixels."""
        row, col = self.image.world_to_data(self.viewer.cursor.position)[-2:]
        return float(col), float(row)

    # Prompts and their answers

    def ask(self) -> None:
        """Show the answer to the current prompt: at once if the preview has it, else when the worker delivers it."""
        session = self.session
        request = session.prompts.request()
        if request is None:
            return
        self.preview.stop()
        answer = session.prompts.answerer.from_preview(request)
        if answer is not None:
            self._on_answered((session, answer))
        else:
            self._worker.submit(lambda: (session, session.prompts.answerer.answer(request)))

    def attempt(self, call: Callable[[], object]) -> bool:
        """Call something that may refuse; its sentence goes to the user. True if it did not refuse."""
        try:
            call()
        except SampathError as error:
            self.message.emit(str(error))
            return False
        return True

    def _on_answered(self, result: tuple[Session, Answer]) -> None:
        session, answer = result
        late = self._late
        if session is self.session and session.prompts.accept(answer):
            self.changed.emit()
            if late is not None:
                late()
                if session.prompts.state.empty:
                    self.message.emit("The mask is committed.")

    def _on_failed(self) -> None:
        self._late = None

    def _on_session(self) -> None:
        # Whatever changes while a commit waits for its answer is a change of mind.
        self._late = None
        self.changed.emit()

    def _on_layer_mode(self) -> None:
        # napari's own buttons and letters choose brush and eraser, too.
        mode = {"paint": Mode.BRUSH, "erase": Mode.ERASE}.get(str(self.layers.classes.mode))
        if mode is not None and mode is not self._mode:
            self._mode = mode
            self.changed.emit()

    def _on_message(self, text: str) -> None:
        self.message.emit(text)

    def _box(self, whole: bool) -> Box:
        hw = self.session.hw
        return (0, 0, *hw) if whole else box_in_view(self.viewer, self.image, hw)

    def _time_travel(self, step: Callable[[], bool], nothing: str) -> None:
        moved: list[bool] = []
        if self.attempt(lambda: moved.append(step())) and not moved[0]:
            self.message.emit(nothing)
        self.ask()
        self.changed.emit()

    def _click_corner(self, x: float, y: float) -> None:
        if self._corner is None:
            self._corner = (x, y)
            self.message.emit("First corner set; click the opposite corner, or drag a box.")
            return
        x0, y0 = self._corner
        self._corner = None
        self.drag_box(x0, y0, x, y, done=True)

    def _click_object(self, x: float, y: float) -> None:
        found = self.session.document.object_at(round(y), round(x))
        mask = None if found else object_under(self.viewer, self.image, x, y, self.session.hw)
        if found:
            self.use_object(found)
        elif mask is not None:
            self.use_mask(mask)
        else:
            self.message.emit(
                "There is no object here, in no label layer that is shown either; "
                "click on one, or drag to paint over a structure."
            )
