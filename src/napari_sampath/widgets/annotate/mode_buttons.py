"""What the mouse does: one button for each mode, and a line that says how to use it."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from ..viewer.mouse import Mode

COLUMNS = 4

HINTS = {
    Mode.POINT: "Click on a structure; right-click (or Alt-click) on what does not belong. Drag for a box; "
    "with Shift the box of one more.",
    Mode.BOX: "Drag a box around a structure, or click two corners. Shift-drag boxes around more; Enter takes all.",
    Mode.MASK: "Paint roughly over a structure, or click an object that is there already to refine it.",
    Mode.LASSO: "Draw around a structure, or click an object that is there already to refine it.",
    Mode.BRUSH: "Paint the chosen class; begin on an object of it to extend that. "
    "[ and ] change the size of the brush.",
    Mode.ERASE: "Rub out by hand. [ and ] change the size of the eraser.",
    Mode.MOVE: "Drag to move the image. Holding the space bar does the same in every other mode.",
}


class ModeButtons(QWidget):
    """The modes of the mouse; shows the one in use and tells which one the user wishes."""

    chosen = Signal(object)
    """Wish: a `Mode`."""
    scribble_width_chosen = Signal(int)
    """Wish: width of scribbles in image pixels."""
    preview_chosen = Signal(bool)
    """Wish: the outline of what a click would give follows the mouse, or not."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.buttons: dict[Mode, QToolButton] = {}
        group = QButtonGroup(self)
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for number, mode in enumerate(Mode):
            button = self.buttons[mode] = QPushButton(mode.value.capitalize())
            button.setCheckable(True)
            button.setToolTip(HINTS[mode])
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(lambda _checked=False, wish=mode: self.chosen.emit(wish))
            group.addButton(button)
            grid.addWidget(button, number // COLUMNS, number % COLUMNS)
        self.hint = QLabel(HINTS[Mode.POINT])
        self.hint.setWordWrap(True)
        self.hint.setMinimumHeight(3 * self.hint.fontMetrics().lineSpacing())
        self.hint.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        self.width_px = QSpinBox()
        self.width_px.setRange(2, 200)
        self.width_px.setValue(12)
        self.width_px.setSuffix(" px")
        self.width_px.setToolTip("Width of the stroke you paint over a structure")
        self.width_px.valueChanged.connect(self.scribble_width_chosen)
        self.mask_row = QWidget()
        row = QHBoxLayout(self.mask_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel("Stroke"))
        row.addWidget(self.width_px, 1)
        self.preview = QCheckBox("Preview")
        self.preview.setChecked(True)
        self.preview.setToolTip("Show the outline of what a click would give while the mouse moves")
        self.preview.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.preview.toggled.connect(self.preview_chosen)
        grid.addWidget(self.preview, len(Mode) // COLUMNS, len(Mode) % COLUMNS)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(grid)
        column.addWidget(self.hint)
        column.addWidget(self.mask_row)
        self.show_mode(Mode.POINT)

    def show_preview(self, on: bool) -> None:
        """Show whether there is a preview under the mouse."""
        with QSignalBlocker(self.preview):
            self.preview.setChecked(on)

    def show_mode(self, mode: Mode) -> None:
        """Show which mode is in use."""
        button = self.buttons[mode]
        with QSignalBlocker(button):
            button.setChecked(True)
        self.hint.setText(HINTS[mode])
        self.mask_row.setVisible(mode is Mode.MASK)
