"""Connect a session to a viewer and an image layer: pass mouse and key input to it and show it in layers."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from qtpy.QtCore import QObject, Signal

from ...session import name_overlap
from ...session.objects.verified_area import VerifiedArea
from ..canvas.area_layer import AreaView
from ..canvas.layer_sync import LayerSync
from ..canvas.layers import hide_results, show_results
from ..canvas.napari_internals.label_tools import drop_unfinished
from ..canvas.viewport import box_in_view
from .display import Display
from .key_settings import KeyChoice, load_keys
from .keys import KeyMap
from .mouse import Mode, MouseTool
from .preferences import previews
from .prompt_input import PromptInput
from .questions import Choice, Question, Questions
from .tools.object_actions import ObjectActions

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

    from ...annotations import Box
    from ...session import Overlap, Session
    from ..background.workers import PromptWorker


def completion_message(accepted: int) -> str:
    """Return the message that an area was marked as verified and how many proposals were accepted in it."""
    proposals = f"; {accepted} proposal{'s' if accepted > 1 else ''} accepted" if accepted else ""
    return f"Marked as verified{proposals}. Undo reverts it."


class Annotator(QObject):
    """Shows a session in a viewer and translates mouse and key input into calls to the session.

    The session holds the annotations and writes each commit to disk before it is painted, so nothing is lost when
    this object, its layers or the viewer are closed.

    Args:
        viewer: The viewer (not napari's public proxy of it).
        image: The image layer that is annotated.
        session: The session of that image.
        worker: Predicts masks for prompts in a thread.
        parent: The Qt parent.
    """

    message = Signal(str)
    """Message for the user."""
    changed = Signal()
    """Emitted when prompts, candidates, classes, history or the mode changed."""

    keys_changed = Signal(object)
    """Emitted with the new `KeyChoice` when the user has changed a key."""

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
        show_results(viewer, image)  # Before layers are added, which updates the rows of napari's layer list.
        self.layer_sync = LayerSync(viewer, image, session, self.message.emit)
        self.layers = self.layer_sync.layers
        self.area_view = AreaView(viewer, image, session)
        self.input = PromptInput(viewer, image, session, worker, self.layer_sync, self)
        self.input.message.connect(self.message)
        self.input.changed.connect(self.changed)
        self.display = Display(session, self.layer_sync, self)
        self.display.message.connect(self.message)
        self.display.changed.connect(self.changed)
        self.attempt = self.input.attempt
        self.preview = self.input.preview
        self.preview.on = previews()
        self.mouse = MouseTool(viewer, image, self.input)
        self.questions = Questions(self)
        self.tools = ObjectActions(self, self)
        self.key_choice = load_keys((viewer, image, self.layers.classes))
        self.keys = self._bind_keys()
        changes = (
            session.prompts_changed,
            session.candidate_changed,
            session.document_changed,
            session.classes_changed,
            session.waiting.changed,
            session.large_changes.changed,
        )
        self._links = [
            *((signal, self._on_session) for signal in changes),
            (session.message, self._on_message),
            (session.overlap_found, self._on_overlap),
            (self.layers.classes.events.mode, self._on_layer_mode),
            (image.events.name, self._on_name),
        ]
        for signal, slot in self._links:
            signal.connect(slot)
        self.mode = Mode.POINT
        if session.waiting.overlap is not None:
            self._on_overlap(session.waiting.overlap)

    def close(self, hide: bool = False) -> None:
        """Disconnect mouse and keys and remove the helper layers.

        The label layers and results of heads stay in the viewer; with `hide`, they become invisible.
        """
        if hide:
            hide_results(self.viewer, self.image)
        for signal, slot in self._links:
            signal.disconnect(slot)
        self.keys.close()
        self.tools.close()
        self.mouse.close()
        self.input.close()
        self.area_view.close()
        self.layer_sync.close(hide)

    def reload_keys(self) -> KeyChoice:
        """Bind the keys of the user's key file again after it has changed, and return them."""
        self.keys.close()
        self.key_choice = load_keys((self.viewer, self.image, self.layers.classes))
        self.keys = self._bind_keys()
        self.keys_changed.emit(self.key_choice)
        return self.key_choice

    def _bind_keys(self) -> KeyMap:
        return KeyMap(self.viewer, [self.image, *self.layers.all()], self, self.mouse, self.key_choice.keys)

    @property
    def settled(self) -> bool:
        """Whether the annotations may be changed: False during a stroke and while a change is being computed."""
        session = self.session
        return not (len(session.waiting) or len(session.large_changes) or self.layer_sync.drawing)

    @property
    def mode(self) -> Mode:
        """The current mouse mode."""
        return self.input.mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self.input.set_mode(mode)
        brush = mode in (Mode.BRUSH, Mode.ERASE)
        labels = self.layers.classes
        labels.mode = {Mode.BRUSH: "paint", Mode.ERASE: "erase"}.get(mode, "pan_zoom")
        self.viewer.layers.selection.active = labels if brush else self.image
        self.mouse.keep_double_click_zoom(mode in (Mode.MOVE, Mode.BRUSH, Mode.ERASE))
        if brush:
            labels.selected_label = self.session.active_class
        self.changed.emit()

    def cursor_xy(self) -> tuple[float, float]:
        """Return the mouse position (x, y) in image pixels."""
        row, col = self.image.world_to_data(self.viewer.cursor.position)[-2:]
        return float(col), float(row)

    # Actions for keys and docks

    def complete(self, whole: bool) -> None:
        """Mark the view, or with `whole` the entire image, as verified, and accept the proposals in it."""
        box = self._box(whole)

        def say(accepted: object) -> None:
            self.session.message.emit(completion_message(len(cast("tuple[int, ...]", accepted))))

        self._mark(box, lambda area: area.complete(box), say)

    def reopen(self) -> None:
        """Mark the view as incomplete; its objects are kept."""
        box = self._box(False)

        def say(_: object) -> None:
            self.session.message.emit(
                "The view is marked as incomplete; only your own objects in it count as verified."
            )

        self._mark(box, lambda area: area.mark(box, False), say)

    def _mark(
        self, box: Box, call: Callable[[VerifiedArea], object], done: Callable[[object], object]
    ) -> None:
        # `done` may be called after another image was chosen and this object was deleted, so it uses the session.
        size_px = (box[2] - box[0]) * (box[3] - box[1])
        self.attempt(
            lambda: self.session.large_changes.submit(
                lambda document, do: call(VerifiedArea(document, do)),
                size_px,
                "the change to the verified area",
                done,
            )
        )

    def clear(self) -> None:
        """Dismiss the current question, tool or unfinished polygon; if there is none, clear the prompt."""
        if self.session.waiting.overlap is not None:
            self.session.waiting.decide(None)
        elif not (self.questions.dismiss() or self.tools.cancel() or drop_unfinished(self.layers.classes)):
            self.input.clear()

    def undo(self) -> None:
        """Discard an unfinished polygon or outline of a napari tool; if there is none, undo the last step."""
        if not drop_unfinished(self.layers.classes):
            self._step_history(self.session.undo, "There is nothing to undo.")

    def redo(self) -> None:
        """Redo the last undone step."""
        self._step_history(self.session.redo, "There is nothing to redo.")

    def choose_class(self, number: int) -> None:
        """Activate the class at a position in the list, counted from 1."""
        classes = list(self.session.classes)
        if number <= len(classes):
            self.activate(classes[number - 1].id)

    def choose_mode(self, mode: str) -> None:
        """Select a mouse mode, by the value of `Mode`."""
        self.tools.deactivate()
        self.mode = Mode(mode)

    def activate(self, class_id: int) -> None:
        """Set the class of new objects."""
        self.session.active_class = class_id
        self.session.classes_changed.emit()

    def _box(self, whole: bool) -> Box:
        hw = self.session.hw
        return (0, 0, *hw) if whole else box_in_view(self.viewer, self.image, hw)

    def _step_history(self, step: Callable[[], bool], message_if_none: str) -> None:
        moved: list[bool] = []
        if self.attempt(lambda: moved.append(step())) and not moved[0]:
            self.message.emit(message_if_none)
        self.input.ask()
        self.changed.emit()

    # Signals of the session and of napari

    def _on_session(self) -> None:
        # A question about an overlap stays, because the commits behind it wait for the answer.
        if self.session.waiting.overlap is None:
            self.questions.dismiss()
        self.changed.emit()

    def _on_message(self, text: str) -> None:
        self.message.emit(text)

    def _on_name(self) -> None:
        # Files are exported under the current name of the image.
        self.session.name = self.image.name

    def _on_overlap(self, overlap: Overlap) -> None:
        key, commit = self.key_choice.shown, self.input.commit
        self.questions.ask(
            Question(
                f"The mask overlaps {name_overlap(self.session.document, overlap)}.",
                (
                    Choice(
                        f"Overwrite ({key('commit_overwrite')})",
                        "Assign the shared pixels to the new object",
                        partial(commit, "overwrite"),
                    ),
                    Choice(
                        f"Keep ({key('commit_keep')})",
                        "Assign only the free pixels to the new object",
                        partial(commit, "keep"),
                    ),
                    Choice(
                        f"Cancel ({key('clear')})",
                        "Do not commit; continue to edit the prompt",
                        partial(self.session.waiting.decide, None),
                    ),
                ),
            )
        )

    def _on_layer_mode(self) -> None:
        # napari's own buttons and keys also select the brush and the eraser.
        mode = {"paint": Mode.BRUSH, "erase": Mode.ERASE}.get(str(self.layers.classes.mode))
        if mode is not None and mode is not self.mode:
            self.input.mode = mode
            self.changed.emit()
