"""The tools that act on single objects, and the interface of the annotator that they use."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image
    from napari.viewer import Viewer

    from ....session import Session
    from ..mouse import Mode, MouseTool


class Tool(StrEnum):
    """An action on one object; *Merge*, *Split* and *Measure* take two positions."""

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
    MEASURE = "measure"
    """Measures a distance; no object changes."""


TWO_POINT_TOOLS = (Tool.MERGE, Tool.SPLIT, Tool.MEASURE)
"""Tools that take two clicks, two key presses, or a drag from one position to the other."""

NO_OBJECT = "There is no object here; move the mouse over an object."


class ToolHost(Protocol):
    """The parts of an annotator that the tools use."""

    viewer: Viewer
    image: Image
    session: Session
    mouse: MouseTool
    mode: Mode
    message: Any
    """Signal with a message for the user."""
    changed: Any
    """Signal without arguments, emitted when the mode may have changed."""

    def cursor_xy(self) -> tuple[float, float]:
        """Return the mouse position (x, y) in image pixels."""

    def attempt(self, call: Callable[[], object]) -> bool:
        """Call a function; if it raises a `SampathError`, show the message and return False."""
