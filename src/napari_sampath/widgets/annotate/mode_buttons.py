"""Buttons of the mouse modes, and a line that explains the selected mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QButtonGroup, QPushButton, QSlider, QWidget

from ..canvas.appearance import FILL
from ..common.controls import button, button_grid, check_box, column, label, row, set_checked, spin_box
from ..viewer.mouse import Mode

HINTS = {
    Mode.POINT: "Click an object, right-click what is not part of it. Drag a box, Shift-drag more boxes.",
    Mode.BOX: "Drag a box, or click two corners. Shift-drag boxes of more objects; Enter commits all.",
    Mode.MASK: "Paint roughly over an object, or click a committed object to refine it.",
    Mode.LASSO: "Draw around an object, or click a committed object to refine it.",
    Mode.BRUSH: "Paint the class; start on an object to extend it. [ and ] change the size.",
    Mode.ERASE: "Erase pixels of objects. [ and ] change the size of the eraser.",
    Mode.MOVE: "Drag to move the image; in every other mode, hold the space bar.",
}
"""Description of each mode, in two lines."""


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

    fill_changed = Signal(float)
    """Emitted with the new opacity 0..1 of the fill of objects."""

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
            "1 click = 1 object",
            "Commit each click and each box as one object, as for nuclei; Backspace removes the last",
        )
        self.one_click.toggled.connect(self.one_click_toggled)
        self.hint = label(HINTS[Mode.POINT], wrap=True)
        self.hint.setMinimumHeight(2 * self.hint.fontMetrics().lineSpacing())
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.width_px = spin_box("Width of the painted stroke in image pixels", 2, 200, 12, suffix=" px")
        self.width_px.valueChanged.connect(self.scribble_width_changed)
        self.mask_row = QWidget()
        self.mask_row.setLayout(row(label("Stroke"), self.width_px, stretch=1))
        grid = button_grid((*self.buttons.values(), self.preview), 4)
        self.fill = QSlider(Qt.Orientation.Horizontal)
        self.fill.setRange(0, 100)
        self.fill.setValue(round(100 * FILL))
        self.fill.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.fill.setToolTip("Opacity of the fill of objects; 0 shows their outlines only")
        self.fill.setAccessibleName("Fill of objects")
        self.fill.valueChanged.connect(lambda percent: self.fill_changed.emit(percent / 100))
        column(
            grid,
            self.hint,
            row(self.one_click, self.mask_row, label("Fill"), self.fill, stretch=3),
            parent=self,
        )
        self.show_mode(Mode.POINT)

    def show_keys(self, shown: Callable[[str], str]) -> None:
        """Show the key of each mode in its tooltip; `shown` returns the key of an action (`Key.name`)."""
        for mode, widget in self.buttons.items():
            widget.setToolTip(f"{HINTS[mode]} ({shown(f'choose_mode_{mode.value}')})")

    def show_preview(self, on: bool) -> None:
        """Show whether the preview under the mouse is on."""
        set_checked(self.preview, on)

    def show_fill(self, opacity: float) -> None:
        """Show the opacity 0..1 of the fill of objects."""
        with QSignalBlocker(self.fill):
            self.fill.setValue(round(100 * opacity))

    def show_one_click(self, on: bool) -> None:
        """Show whether each click is committed immediately as one object."""
        set_checked(self.one_click, on)

    def show_mode(self, mode: Mode) -> None:
        """Show the selected mode."""
        set_checked(self.buttons[mode], True)
        self.hint.setText(HINTS[mode])
        self.mask_row.setVisible(mode is Mode.MASK)
        self.one_click.setVisible(mode is not Mode.MASK)
