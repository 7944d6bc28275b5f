"""Buttons of the mouse modes, and a line that explains the selected mode."""

from __future__ import annotations

from functools import partial

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QPushButton, QWidget

from ..common.controls import button, button_grid, check_box, column, label, row, set_checked, spin_box
from ..viewer.mouse import Mode

HINTS = {
    Mode.POINT: "Click inside an object; right-click or Alt-click pixels that do not belong to it. "
    "Drag to draw a box, Shift-drag to add a box around another object.",
    Mode.BOX: "Drag a box around an object, or click two corners. Shift-drag boxes around more objects; "
    "Enter commits them all.",
    Mode.MASK: "Paint roughly over an object, or click a committed object to refine it.",
    Mode.LASSO: "Draw around an object, or click a committed object to refine it.",
    Mode.BRUSH: "Paint the selected class; start on an object of that class to extend it. "
    "[ and ] change the size of the brush.",
    Mode.ERASE: "Erase pixels of objects. [ and ] change the size of the eraser.",
    Mode.MOVE: "Drag to move the image. In every other mode, hold the space bar to do the same.",
}


class ModeButtons(QWidget):
    """One button for each mouse mode, a check box for the preview, and the width of scribbles."""

    mode_selected = Signal(object)
    """Emitted with the `Mode` that the user selected."""
    scribble_width_changed = Signal(int)
    """Emitted with the new width of scribbles in image pixels."""
    preview_toggled = Signal(bool)
    """Emitted when the user switches the preview under the mouse on or off."""

    one_click_toggled = Signal(bool)
    """Emitted when the user switches *one click = one object* on or off."""

    def __init__(self) -> None:
        super().__init__()
        self.buttons: dict[Mode, QPushButton] = {}
        exclusive = QButtonGroup(self)
        for mode in Mode:
            select = partial(self.mode_selected.emit, mode)
            self.buttons[mode] = button(mode.value.capitalize(), HINTS[mode], select, checkable=True)
            exclusive.addButton(self.buttons[mode])
        self.preview = check_box("Preview", "Show the outline that a click would produce", True)
        self.preview.toggled.connect(self.preview_toggled)
        self.one_click = check_box(
            "One click = one object",
            "Commit each click and each box as one object, as for nuclei; Backspace removes the last",
        )
        self.one_click.toggled.connect(self.one_click_toggled)
        self.hint = label(HINTS[Mode.POINT], wrap=True)
        self.hint.setMinimumHeight(3 * self.hint.fontMetrics().lineSpacing())
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.width_px = spin_box("Width of the painted stroke in image pixels", 2, 200, 12, suffix=" px")
        self.width_px.valueChanged.connect(self.scribble_width_changed)
        self.mask_row = QWidget()
        self.mask_row.setLayout(row(label("Stroke"), self.width_px, stretch=1))
        grid = button_grid((*self.buttons.values(), self.preview), 4)
        column(grid, self.one_click, self.hint, self.mask_row, parent=self)
        self.show_mode(Mode.POINT)

    def show_preview(self, on: bool) -> None:
        """Show whether the preview under the mouse is on."""
        set_checked(self.preview, on)

    def show_one_click(self, on: bool) -> None:
        """Show whether each click is committed by itself."""
        set_checked(self.one_click, on)

    def show_mode(self, mode: Mode) -> None:
        """Show the selected mode."""
        set_checked(self.buttons[mode], True)
        self.hint.setText(HINTS[mode])
        self.mask_row.setVisible(mode is Mode.MASK)
