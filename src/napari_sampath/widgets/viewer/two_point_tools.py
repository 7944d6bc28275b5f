"""Joining and dividing: what needs two places, given by two clicks, two presses of a key, or a drag."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..canvas.highlight import Highlight
    from .annotator import Annotator


class Tool(StrEnum):
    """One thing that can be done to an object."""

    RECLASSIFY = "reclassify"
    DELETE = "delete"
    MERGE = "merge"
    SPLIT = "split"
    GROW = "grow"
    SHRINK = "shrink"
    FILL_HOLES = "fill_holes"
    SMOOTH = "smooth"
    REVIEWED = "reviewed"
    UNSURE = "unsure"


TWO_PLACES = (Tool.MERGE, Tool.SPLIT)
"""Tools that need two clicks, presses of the key, or a drag from one place to the other."""

NO_OBJECT = "There is no object here; put the mouse over one."


@dataclass(frozen=True, slots=True)
class _First:
    """The first of two places."""

    tool: Tool
    xy: tuple[float, float]
    object_id: int


class TwoPointTools:
    """Waits for the second place of a tool, and shows what has begun.

    Args:
        annotator: Whose objects are joined and divided.
        highlight: Shows the first object, or the cut.
    """

    def __init__(self, annotator: Annotator, highlight: Highlight) -> None:
        self._host = annotator
        self._highlight = highlight
        self._first: _First | None = None

    @property
    def waiting(self) -> bool:
        """True after the first place."""
        return self._first is not None

    def use(self, tool: Tool, xy: tuple[float, float], found: int) -> None:
        """Take the first place, or the second and be done.

        Args:
            tool: Which.
            xy: Where, (x, y) in image pixels.
            found: The object there; 0 for none.
        """
        first = self._first
        if first is not None and first.tool is tool:
            self._finish(first, xy, found)
        elif tool is Tool.MERGE and not found:
            self._host.message.emit(NO_OBJECT)
        elif tool is Tool.SPLIT and found and self._host.session.objects.pieces(found) > 1:
            self._host.attempt(lambda: self._host.session.objects.split_pieces(found))
        else:
            self._begin(_First(tool, xy, found))

    def _begin(self, first: _First) -> None:
        self.forget()
        self._first = first
        if first.tool is Tool.MERGE:
            self._highlight.show([self._host.session.document.record(first.object_id).box])
            self._host.message.emit("Now the object that becomes one with it; Esc leaves both as they are.")
        else:
            self._highlight.show((), (first.xy, first.xy))
            self._host.viewer.mouse_move_callbacks.append(self._on_move)
            self._host.message.emit("Now the other end of the cut; Esc leaves the object whole.")

    def _finish(self, first: _First, xy: tuple[float, float], found: int) -> None:
        objects = self._host.session.objects
        if first.tool is Tool.MERGE:
            if not found or found == first.object_id:
                self._host.message.emit("Choose another object to become one with it, or leave with Esc.")
                return
            self.forget()
            self._host.attempt(lambda: objects.merge((first.object_id, found)))
            return
        self.forget()
        crossed = objects.across(first.xy, xy)
        if not crossed:
            self._host.message.emit(
                "The cut crosses no object; begin on one side of an object and end on the other."
            )
            return
        # A click gives the centre of a pixel as a whole number; a cut runs in a plane where it is a half.
        start, stop = ((x + 0.5, y + 0.5) for x, y in (first.xy, xy))
        self._host.attempt(lambda: objects.split_line(crossed, start, stop))

    def forget(self) -> None:
        """Leave the tool after its first place."""
        if self._first is None:
            return
        callbacks = self._host.viewer.mouse_move_callbacks
        if self._on_move in callbacks:
            callbacks.remove(self._on_move)
        self._first = None
        self._highlight.clear()

    def _on_move(self, _viewer: Any, event: Any) -> None:
        if self._first is not None:
            self._highlight.show((), (self._first.xy, self._host.mouse.xy(event)))
