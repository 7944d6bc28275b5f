"""Buttons of the object tools; the user selects a tool, then clicks objects."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QPushButton, QWidget

from ..common.controls import button, button_grid, set_checked, spin_box
from ..viewer.key_settings import KeyChoice
from ..viewer.tools.object_actions import DISTANCE_PX
from ..viewer.tools.object_tools import Tool

COLUMNS = 4
REACH_HINT = "Distance by which objects grow, shrink or are smoothed, in image pixels"

TOOLS: dict[Tool, tuple[str, str]] = {
    Tool.RECLASSIFY: ("Change class", "Give an object the selected class"),
    Tool.DELETE: ("Delete", "Delete an object"),
    Tool.MERGE: (
        "Merge",
        "Merge two objects into one: click both, or drag from one to the other; the result has the class of the first",
    ),
    Tool.SPLIT: (
        "Split",
        "Split an object in two: drag a line across it, or click on both sides of it; "
        "click it once to separate disconnected parts",
    ),
    Tool.GROW: ("Grow", "Enlarge an object on all sides; neighbours keep their pixels"),
    Tool.SHRINK: ("Shrink", "Make an object smaller on all sides"),
    Tool.FILL_HOLES: ("Fill", "Fill the holes of an object; objects inside them are kept"),
    Tool.SMOOTH: ("Smooth", "Smooth the outline of an object"),
    Tool.REVIEWED: ("Reviewed", "Mark an object as reviewed, or remove the mark"),
    Tool.UNSURE: (
        "Unsure",
        "Mark an object as unsure, so that heads are not trained on it, or remove the mark",
    ),
    Tool.MEASURE: ("Measure", "Measure a distance: drag a line, or click both ends"),
}
"""Tool -> text and tooltip of its button."""


class ToolButtons(QWidget):
    """One button for each object tool, and the distance by which tools grow, shrink and smooth."""

    tool_selected = Signal(object)
    """Emitted with the `Tool` that the user selected."""
    reach_changed = Signal(int)
    """Emitted with the new distance for grow, shrink and smooth, in image pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[Tool, QPushButton] = {}
        for tool, (text, _) in TOOLS.items():
            select = partial(self.tool_selected.emit, tool)
            self.buttons[tool] = button(text, on_click=select, checkable=True)
        self.reach = spin_box(REACH_HINT, 1, 50, DISTANCE_PX, prefix="by ", suffix=" px")
        self.reach.valueChanged.connect(self.reach_changed)
        grid = button_grid(self.buttons.values(), COLUMNS)
        grid.addWidget(self.reach, len(TOOLS) // COLUMNS, len(TOOLS) % COLUMNS, 1, -1)
        self.setLayout(grid)

    def show_keys(self, keys: KeyChoice) -> None:
        """Show the shortcut of each tool in its tooltip."""
        for tool, (_, hint) in TOOLS.items():
            place = "at both ends" if tool is Tool.MEASURE else "with the mouse on the object"
            self.buttons[tool].setToolTip(f"{hint} ({keys.shown(tool.value)} {place})")

    def show_state(self, selected: Tool | None, reach_px: int) -> None:
        """Show the selected tool and the distance in image pixels."""
        for tool, widget in self.buttons.items():
            set_checked(widget, tool is selected)
        with QSignalBlocker(self.reach):
            self.reach.setValue(reach_px)
