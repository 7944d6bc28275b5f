"""The object tools as buttons: choose one, then click objects; each says the key that does the same at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QPushButton, QSpinBox, QWidget

from ..viewer.object_actions import DISTANCE_PX
from ..viewer.object_tools import Tool

if TYPE_CHECKING:
    from ..viewer.key_settings import KeyChoice

COLUMNS = 4

TOOLS: dict[Tool, tuple[str, str]] = {
    Tool.RECLASSIFY: ("Reclass", "Give an object the chosen class"),
    Tool.DELETE: ("Delete", "Delete an object"),
    Tool.MERGE: (
        "Join",
        "Make one object of two: click on each, or drag from one to the other; the first gives the class",
    ),
    Tool.SPLIT: (
        "Divide",
        "Cut an object in two: drag a line across it, or click on either side of it; "
        "an object in several pieces falls apart at one click",
    ),
    Tool.GROW: ("Grow", "Make an object larger all around; neighbours keep their pixels"),
    Tool.SHRINK: ("Shrink", "Make an object smaller all around"),
    Tool.FILL_HOLES: ("Fill", "Fill the holes of an object; other objects in them stay"),
    Tool.SMOOTH: ("Smooth", "Round the outline of an object off"),
    Tool.REVIEWED: (
        "Reviewed",
        "Tick an object: you have looked at it and agree; once more takes the tick away",
    ),
    Tool.UNSURE: (
        "Unsure",
        "Mark an object as one you cannot tell; it is not learned from. Once more takes it back",
    ),
}


class ToolButtons(QWidget):
    """One button for each object tool; shows the one in use and tells which one the user wishes."""

    chosen = Signal(object)
    """Wish: a `Tool`."""
    reach_chosen = Signal(int)
    """Wish: how far grow, shrink and smooth reach, in image pixels."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[Tool, QPushButton] = {}
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for number, (tool, (text, _)) in enumerate(TOOLS.items()):
            button = self.buttons[tool] = QPushButton(text)
            button.setCheckable(True)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(lambda _checked=False, wish=tool: self.chosen.emit(wish))
            grid.addWidget(button, number // COLUMNS, number % COLUMNS)
        self.reach = QSpinBox()
        self.reach.setRange(1, 50)
        self.reach.setValue(DISTANCE_PX)
        self.reach.setPrefix("by ")
        self.reach.setSuffix(" px")
        self.reach.setToolTip("How far grow, shrink and smooth reach, in pixels of the image")
        self.reach.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        self.reach.valueChanged.connect(self.reach_chosen)
        grid.addWidget(self.reach, len(TOOLS) // COLUMNS, len(TOOLS) % COLUMNS, 1, -1)

    def show_keys(self, choice: KeyChoice) -> None:
        """Show the keys that do the same to the object under the mouse."""
        for tool, (_, hint) in TOOLS.items():
            self.buttons[tool].setToolTip(
                f"{hint}.\nChoose this and click, or press {choice.shown(tool.value)} with the mouse over it."
            )

    def show_state(self, armed: Tool | None, reach_px: int) -> None:
        """Show which tool is in use, and how far tools reach."""
        for tool, button in self.buttons.items():
            with QSignalBlocker(button):
                button.setChecked(tool is armed)
        with QSignalBlocker(self.reach):
            self.reach.setValue(reach_px)
