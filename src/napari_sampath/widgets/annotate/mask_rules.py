"""What becomes of a new mask: an object or part of a region, and what happens to objects under it."""

from __future__ import annotations

from typing import get_args

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QWidget

from ...session import MaskMode, OverlapRule

MODES: dict[MaskMode, tuple[str, str]] = {
    "instance": ("Single objects", "Every mask and stroke is an object of its own, with its own number"),
    "semantic": ("Whole regions", "Masks and strokes of a class that touch grow together into one region"),
}
RULES: dict[OverlapRule, tuple[str, str]] = {
    "overwrite": ("Overwrite others", "A new mask takes the pixels of the objects under it"),
    "keep": ("Keep others", "A new mask gets the free pixels only"),
    "ask": ("Ask about others", "Ask each time a mask lies on other objects; strokes of the brush overwrite"),
}


class RulesForm(QWidget):
    """Two choices side by side; shows what the session has and tells what the user wishes."""

    mode_chosen = Signal(str)
    """Wish: a `MaskMode`."""
    overlap_chosen = Signal(str)
    """Wish: an `OverlapRule`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mode = _combo(MODES, "Objects, or regions")
        self.overlap = _combo(RULES, "What happens to objects under a new mask")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self.mode)
        row.addWidget(self.overlap)
        self.mode.activated.connect(lambda: self.mode_chosen.emit(self.mode.currentData()))
        self.overlap.activated.connect(lambda: self.overlap_chosen.emit(self.overlap.currentData()))

    def show_rules(self, mode: MaskMode, overlap: OverlapRule) -> None:
        """Show the rules in force."""
        for combo, value in ((self.mode, mode), (self.overlap, overlap)):
            with QSignalBlocker(combo):
                combo.setCurrentIndex(combo.findData(value))

    def value(self) -> tuple[MaskMode, OverlapRule]:
        """Return the rules shown."""
        mode, overlap = self.mode.currentData(), self.overlap.currentData()
        return (
            next(one for one in get_args(MaskMode) if one == mode),
            next(one for one in get_args(OverlapRule) if one == overlap),
        )


def _combo(
    texts: dict[MaskMode, tuple[str, str]] | dict[OverlapRule, tuple[str, str]], hint: str
) -> QComboBox:
    combo = QComboBox()
    combo.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    lines = [f"{hint}:"]
    for row, (value, (text, explained)) in enumerate(texts.items()):
        combo.addItem(text, value)
        combo.setItemData(row, explained, Qt.ItemDataRole.ToolTipRole)
        lines.append(f"{text}: {explained[0].lower()}{explained[1:]}.")
    combo.setToolTip("\n".join(lines))
    return combo
