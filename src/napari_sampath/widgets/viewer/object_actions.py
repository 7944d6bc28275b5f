"""What can be done to one object at a time, by key with the mouse over it, or by a tool chosen in the dock."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from ...session import name_overlap
from ..canvas.highlight import Highlight
from ..canvas.viewport import camera
from .mouse import DRAG_PX, LEFT, Mode
from .questions import Choice, Question, Questions
from .two_point_tools import NO_OBJECT, TWO_PLACES, Tool, TwoPointTools

if TYPE_CHECKING:
    from collections.abc import Generator

    from ...session import Overlap
    from .annotator import Annotator


REACH_PX = 2
"""How far tools that reshape go at first."""


class ObjectActions(QObject):
    """Applies tools to objects of an annotator's session; everything is one step of undo.

    Keys apply a tool where the mouse is. A tool that is chosen ("armed") in the dock applies where the user clicks,
    until it is let go of: by Esc, by a click on its button, or by choosing what the mouse does.

    Args:
        annotator: The annotator; it is complete but for this object.
    """

    changed = Signal()
    """Another tool is armed."""
    objects_changed = Signal(object)
    """Ids of the objects of the session that came, changed or went."""
    help_wished = Signal()
    """The user wishes to see the keys, or not to see them any more."""

    def __init__(self, annotator: Annotator) -> None:
        super().__init__(annotator)
        self.by_px = REACH_PX
        """How far grow, shrink and smooth reach, in image pixels."""
        self.armed: Tool | None = None
        self.questions = Questions(self)
        self.highlight = Highlight(annotator.viewer, annotator.image)
        self._host = annotator
        self._session = annotator.session
        self._two = TwoPointTools(annotator, self.highlight)
        self._mode_before = Mode.POINT
        session = self._session
        self._signals = (
            session.prompts_changed,
            session.candidate_changed,
            session.document_changed,
            session.classes_changed,
        )
        for signal in self._signals:
            signal.connect(self._on_session)
        session.overlap_found.connect(self._on_overlap)
        session.objects_changed.connect(self._on_objects)
        annotator.changed.connect(self._on_annotator)

    def close(self) -> None:
        """Let go of the mouse and take the marks away."""
        for signal in self._signals:
            signal.disconnect(self._on_session)
        self._session.overlap_found.disconnect(self._on_overlap)
        self._session.objects_changed.disconnect(self._on_objects)
        self._host.changed.disconnect(self._on_annotator)
        self.release()
        self._two.forget()
        self.highlight.close()

    def use(self, tool: Tool | str, xy: tuple[float, float] | None = None) -> None:
        """Apply a tool.

        Args:
            tool: Which.
            xy: Where, (x, y) in image pixels; under the mouse if left out.
        """
        tool, (x, y) = Tool(tool), xy or self._host.cursor_xy()
        found = self._session.document.object_at(round(y), round(x))
        if tool in TWO_PLACES:
            self._two.use(tool, (x, y), found)
        elif not found:
            self._host.message.emit(NO_OBJECT)
        else:
            self._host.attempt(partial(self._apply, tool, found))

    def show_help(self) -> None:
        """Tell that the user wishes to see the keys, or not to see them any more."""
        self.help_wished.emit()

    def cancel(self) -> bool:
        """Leave what has begun, a question first; False if nothing has."""
        if self.questions.dismiss():
            return True
        if self._two.waiting:
            self._two.forget()
            self._host.message.emit("Left as it was.")
            return True
        if self.armed is not None:
            self.arm(None)
            return True
        return False

    def arm(self, tool: Tool | None) -> None:
        """Choose what the next clicks do to objects; None, or the tool in use, gives the mouse back."""
        if tool is None or tool is self.armed:
            if self.armed is not None:
                self.release()
                self._host.mode = self._mode_before
            return
        self._two.forget()
        if self.armed is None:
            self._mode_before = self._host.mode
            self._host.viewer.mouse_drag_callbacks.append(self._on_drag)
        self.armed = tool
        self._host.mode = Mode.MOVE
        # Two quick clicks are two objects, no wish to zoom.
        self._host.mouse.keep_double_click_zoom(False)
        self.changed.emit()

    def release(self) -> None:
        """Let go of the tool that is armed, whatever the mouse does next."""
        if self.armed is None:
            return
        self.armed = None
        self._two.forget()
        self._host.viewer.mouse_drag_callbacks.remove(self._on_drag)
        self.changed.emit()

    def _apply(self, tool: Tool, found: int) -> None:
        session, objects = self._session, self._session.objects
        before = session.document.record(found)
        match tool:
            case Tool.DELETE:
                objects.delete((found,))
                return
            case Tool.RECLASSIFY:
                objects.reclassify((found,), session.active_class)
            case Tool.GROW:
                objects.grow(found, self.by_px)
            case Tool.SHRINK:
                objects.shrink(found, self.by_px)
            case Tool.FILL_HOLES:
                objects.fill_holes(found)
            case Tool.SMOOTH:
                objects.smooth(found, self.by_px)
            case Tool.REVIEWED:
                objects.flag((found,), "reviewed", not before.reviewed)
            case Tool.UNSURE:
                objects.flag((found,), "unsure", not before.unsure)
        self._tell(tool, found, before == session.document.record(found))

    def _tell(self, tool: Tool, found: int, same: bool) -> None:
        """Say what became of an object: marks are not seen on it, and a hole may be too small to be missed."""
        record = self._session.document.record(found)
        name = f"{self._session.classes.by_id(record.class_id).name} {found}"
        if same:
            self._host.message.emit(f"{name}: there was nothing to change.")
        elif tool in (Tool.REVIEWED, Tool.UNSURE):
            ticked = record.reviewed if tool is Tool.REVIEWED else record.unsure
            self._host.message.emit(f"{name} is {tool.value if ticked else f'not {tool.value} any more'}.")
        else:
            self._host.message.emit(f"{name} has {record.area_px:,} px now.")

    def _on_drag(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Follow one press of the mouse while a tool is armed (napari's drag callback)."""
        tool = self.armed
        if tool is None or event.button != LEFT or self._host.mouse.held:
            return
        start, xy, dragged = np.array(event.pos), self._host.mouse.xy(event), False
        pan = camera(viewer).mouse_pan
        if tool in TWO_PLACES:
            camera(viewer).mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                far = float(np.abs(np.asarray(event.pos) - start).max()) >= DRAG_PX
                if far and not dragged and tool in TWO_PLACES:
                    self._two.forget()
                    self.use(tool, xy)
                dragged = dragged or far
                yield
        finally:
            camera(viewer).mouse_pan = pan
        if not dragged:
            self.use(tool, xy)
        elif self._two.waiting:
            self.use(tool, self._host.mouse.xy(event))

    # What others did

    def _on_overlap(self, overlap: Overlap) -> None:
        names = name_overlap(self._session.document, overlap)
        commit, key = self._host.commit, self._host.key_choice.shown
        self.questions.ask(
            Question(
                f"The mask lies on {names}.",
                (
                    Choice(
                        f"Overwrite ({key('commit_overwrite')})",
                        "The new object takes these pixels",
                        partial(commit, "overwrite"),
                    ),
                    Choice(
                        f"Keep ({key('commit_keep')})",
                        "The new object gets the free pixels only",
                        partial(commit, "keep"),
                    ),
                    Choice(f"Cancel ({key('clear')})", "Commit nothing and go on with the prompt"),
                ),
            )
        )

    def _on_session(self) -> None:
        self.questions.dismiss()

    def _on_objects(self, ids: frozenset[int]) -> None:
        self.objects_changed.emit(ids)

    def _on_annotator(self) -> None:
        # Whoever chooses what the mouse does has let go of the tool.
        if self._host.mode is not Mode.MOVE:
            self.release()
