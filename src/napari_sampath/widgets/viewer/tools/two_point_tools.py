"""Merge, Split and Measure: tools that take two positions, set by two clicks, two key presses, or a drag."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...canvas.overlays.highlight import Highlight
from ...canvas.overlays.orientation import describe_length
from ...canvas.pixel_size import mpp_of
from .object_tools import NO_OBJECT, Tool, ToolHost

if TYPE_CHECKING:
    from ....session.objects.object_tools import ObjectTools


@dataclass(frozen=True, slots=True)
class _FirstPoint:
    """The first of two positions."""

    tool: Tool
    xy: tuple[float, float]
    object_id: int


class TwoPointTools:
    """Stores the first position of a tool, marks it on the canvas, and applies the tool at the second.

    Args:
        host: The annotator of the image.
        highlight: Draws the frame of the first object, the cut, or the measured distance.
    """

    def __init__(self, host: ToolHost, highlight: Highlight) -> None:
        self._host = host
        self._highlight = highlight
        self._first: _FirstPoint | None = None
        self.measured = False
        """Whether the line of a finished measurement is shown."""

    @property
    def waiting(self) -> bool:
        """Whether the first position is set and the second is missing."""
        return self._first is not None

    def use(self, tool: Tool, xy: tuple[float, float], object_id: int) -> None:
        """Store the first position, or apply the tool if this is the second position.

        Args:
            tool: One of `TWO_POINT_TOOLS`.
            xy: Position (x, y) in image pixels.
            object_id: The object at that position; 0 for none.
        """
        objects = self._host.session.objects
        if self._first is not None and self._first.tool is tool:
            self._finish(self._first, xy, object_id)
        elif tool is Tool.MERGE and not object_id:
            self._host.message.emit(NO_OBJECT)
        elif tool is Tool.SPLIT and object_id and objects.component_count(object_id) > 1:
            self._edit((object_id,), lambda tools: tools.split_components(object_id), "the split")
        else:
            self._begin(_FirstPoint(tool, xy, object_id))

    def cancel(self) -> None:
        """Discard the first position, and remove its mark or the line of a measurement."""
        if self.measured:
            self.measured = False
            self._highlight.clear()
        if self._first is None:
            return
        callbacks = self._host.viewer.mouse_move_callbacks
        if self._on_move in callbacks:
            callbacks.remove(self._on_move)
        self._first = None
        self._highlight.clear()

    def _begin(self, first: _FirstPoint) -> None:
        self.cancel()
        self._first = first
        if first.tool is Tool.MERGE:
            self._highlight.show([self._host.session.document.record(first.object_id).box])
            self._host.message.emit("Choose the object to merge with this one; press Esc to cancel.")
        else:
            self._highlight.show((), (first.xy, first.xy))
            self._host.viewer.mouse_move_callbacks.append(self._on_move)
            what = "cut" if first.tool is Tool.SPLIT else "distance"
            self._host.message.emit(f"Choose the other end of the {what}; press Esc to cancel.")

    def _finish(self, first: _FirstPoint, xy: tuple[float, float], object_id: int) -> None:
        objects = self._host.session.objects
        if first.tool is Tool.MERGE:
            if object_id in (0, first.object_id):
                self._host.message.emit(
                    "Choose another object to merge with this one, or press Esc to cancel."
                )
                return
            self.cancel()
            ids = (first.object_id, object_id)
            self._edit(ids, lambda tools: tools.merge(ids), "the merge")
            return
        self.cancel()
        if first.tool is Tool.MEASURE:
            self.measured = True
            self._highlight.show((), (first.xy, xy))
            self._host.message.emit(f"Distance: {self._length(first.xy, xy)}.")
            return
        crossed = objects.across(first.xy, xy)
        if not crossed:
            self._host.message.emit(
                "The cut crosses no object; start on one side of an object and end on the other."
            )
            return
        # Pixel centres are at whole numbers for clicks, but at half-integers for cuts.
        start, stop = ((x + 0.5, y + 0.5) for x, y in (first.xy, xy))
        self._edit((crossed,), lambda tools: tools.split_line(crossed, start, stop), "the split")

    def _edit(self, ids: tuple[int, ...], call: Callable[[ObjectTools], object], name: str) -> None:
        changes = self._host.session.large_changes
        self._host.attempt(lambda: changes.edit(ids, call, name))

    def _on_move(self, _viewer: Any, event: Any) -> None:
        if self._first is None:
            return
        xy = self._host.mouse.xy(event)
        self._highlight.show((), (self._first.xy, xy))
        if self._first.tool is Tool.MEASURE:
            self._host.message.emit(f"Distance: {self._length(self._first.xy, xy)}.")

    def _length(self, first_xy: tuple[float, float], second_xy: tuple[float, float]) -> str:
        mpp = mpp_of(self._host.image) or self._host.session.files.mpp
        return describe_length(first_xy, second_xy, mpp)
