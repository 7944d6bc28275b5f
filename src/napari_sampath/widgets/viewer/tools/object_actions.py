"""Apply tools to single objects: with a key at the mouse position, or with clicks while a tool is active."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Signal

from ...canvas.overlays.highlight import Highlight
from ...canvas.viewport import camera
from ..mouse import DRAG_PX, LEFT, Mode
from .object_tools import NO_OBJECT, TWO_POINT_TOOLS, Tool
from .two_point_tools import TwoPointTools

if TYPE_CHECKING:
    from collections.abc import Generator

    from ....session.objects.object_tools import ObjectTools
    from .object_tools import ToolHost


DISTANCE_PX = 2
"""Default distance for Grow, Shrink and Smooth, in image pixels."""


class ObjectActions(QObject):
    """Applies tools to objects of an annotator's session; each use is one undo step.

    A key applies its tool at the mouse position. A tool that was activated in the dock is applied at each click, until
    it is deactivated with Esc, with its button, or by another mouse mode.

    Args:
        host: The annotator; its other attributes must already be set.
        parent: The Qt parent.
    """

    changed = Signal()
    """Emitted when the active tool changed."""
    objects_changed = Signal(object)
    """Emitted with the ids of objects of the session that were added, changed or removed."""
    help_requested = Signal()
    """Emitted to show the list of keys, or to hide it if it is shown."""

    similar_requested = Signal(int)
    """Emitted with the id of the object under the mouse, 0 if there is none, to find similar objects."""

    def __init__(self, host: ToolHost, parent: QObject) -> None:
        super().__init__(parent)
        self.distance_px = DISTANCE_PX
        """Distance for Grow, Shrink and Smooth, in image pixels."""
        self.active: Tool | None = None
        self.highlight = Highlight(host.viewer, host.image)
        self._host = host
        self._session = host.session
        self._two_points = TwoPointTools(host, self.highlight)
        self._mode_before = Mode.POINT
        self._session.objects_changed.connect(self._on_objects)
        host.changed.connect(self._on_annotator)

    def close(self) -> None:
        """Deactivate the tool, disconnect, and remove the frames and lines from the canvas."""
        self._session.objects_changed.disconnect(self._on_objects)
        self._host.changed.disconnect(self._on_annotator)
        self.deactivate()
        self._two_points.cancel()
        self.highlight.close()

    def use(self, tool: Tool | str, xy: tuple[float, float] | None = None) -> None:
        """Apply a tool at (x, y) in image pixels, by default at the mouse position."""
        tool, (x, y) = Tool(tool), xy or self._host.cursor_xy()
        object_id = self._session.document.object_at(round(y), round(x))
        if not object_id and tool is not Tool.MEASURE:
            touched: list[int] = []
            self._host.attempt(lambda: touched.append(self._session.proposals.touch(round(y), round(x))))
            object_id = sum(touched)
        if tool in TWO_POINT_TOOLS:
            self._two_points.use(tool, (x, y), object_id)
        elif not object_id:
            self._host.message.emit(NO_OBJECT)
        else:
            self._host.attempt(partial(self._apply, tool, object_id))

    def find_similar(self) -> None:
        """Request the objects that look like the one under the mouse."""
        x, y = self._host.cursor_xy()
        self.similar_requested.emit(self._session.document.object_at(round(y), round(x)))

    def show_help(self) -> None:
        """Show or hide the list of keys."""
        self.help_requested.emit()

    def cancel(self) -> bool:
        """Discard the first position of a tool, or deactivate the tool; return False if there was nothing to cancel."""
        if self._two_points.waiting:
            self._two_points.cancel()
            self._host.message.emit("Cancelled; no object was changed.")
            return True
        measured = self._two_points.measured
        self._two_points.cancel()
        if self.active is not None:
            self.activate(None)
            return True
        return measured

    def activate(self, tool: Tool | None) -> None:
        """Apply a tool at the next clicks; None, or the active tool, returns to the previous mouse mode."""
        if tool is None or tool is self.active:
            if self.active is not None:
                self.deactivate()
                self._host.mode = self._mode_before
            return
        self._two_points.cancel()
        if self.active is None:
            self._mode_before = self._host.mode
            self._host.viewer.mouse_drag_callbacks.append(self._on_drag)
        self.active = tool
        self._host.mode = Mode.MOVE
        # Two quick clicks act on two objects; they must not zoom.
        self._host.mouse.keep_double_click_zoom(False)
        self.changed.emit()

    def deactivate(self) -> None:
        """Deactivate the tool without changing the mouse mode."""
        if self.active is None:
            return
        self.active = None
        self._two_points.cancel()
        self._host.viewer.mouse_drag_callbacks.remove(self._on_drag)
        self.changed.emit()

    def _apply(self, tool: Tool, object_id: int) -> None:
        session, distance_px = self._session, self.distance_px
        before, class_id = session.document.record(object_id), session.active_class

        def apply(objects: ObjectTools) -> None:
            match tool:
                case Tool.DELETE:
                    objects.delete((object_id,))
                case Tool.RECLASSIFY:
                    objects.reclassify((object_id,), class_id)
                case Tool.GROW:
                    objects.grow(object_id, distance_px)
                case Tool.SHRINK:
                    objects.shrink(object_id, distance_px)
                case Tool.FILL_HOLES:
                    objects.fill_holes(object_id)
                case Tool.SMOOTH:
                    objects.smooth(object_id, distance_px)
                case Tool.REVIEWED:
                    objects.flag((object_id,), "reviewed", not before.reviewed)
                case Tool.UNSURE:
                    objects.flag((object_id,), "unsure", not before.unsure)

        def report(_: object) -> None:
            if tool is not Tool.DELETE:
                self._report(tool, object_id, changed=before != session.document.record(object_id))

        session.large_changes.edit((object_id,), apply, f"the change of object {object_id}", report)

    def _report(self, tool: Tool, object_id: int, changed: bool) -> None:
        """Show the new state of an object, because flags and small holes are not visible on the canvas."""
        # The host may have been deleted while the change was computed.
        record = self._session.document.record(object_id)
        name = f"{self._session.classes.by_id(record.class_id).name} {object_id}"
        if not changed:
            self._session.message.emit(f"{name} did not change.")
        elif tool in (Tool.REVIEWED, Tool.UNSURE):
            flagged = record.reviewed if tool is Tool.REVIEWED else record.unsure
            self._session.message.emit(f"{name} is {tool.value if flagged else f'no longer {tool.value}'}.")
        else:
            self._session.message.emit(f"{name} now has {record.area_px:,} px.")

    def _on_drag(self, viewer: Any, event: Any) -> Generator[None, None, None]:
        """Handle a left press until its release while a tool is active (napari's drag callback)."""
        tool = self.active
        if tool is None or event.button != LEFT or self._host.mouse.held:
            return
        start, xy, dragged = np.array(event.pos), self._host.mouse.xy(event), False
        pan = camera(viewer).mouse_pan
        if tool in TWO_POINT_TOOLS:
            camera(viewer).mouse_pan = False
        try:
            yield
            while event.type == "mouse_move":
                moved = float(np.abs(np.asarray(event.pos) - start).max()) >= DRAG_PX
                if moved and not dragged and tool in TWO_POINT_TOOLS:
                    self._two_points.cancel()
                    self.use(tool, xy)
                dragged = dragged or moved
                yield
        finally:
            camera(viewer).mouse_pan = pan
        if not dragged:
            self.use(tool, xy)
        elif self._two_points.waiting:
            self.use(tool, self._host.mouse.xy(event))

    def _on_objects(self, ids: frozenset[int]) -> None:
        self.objects_changed.emit(ids)

    def _on_annotator(self) -> None:
        if self._host.mode is not Mode.MOVE:
            self.deactivate()
