"""Select whether a new mask is an object or part of a region, and what happens to objects under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QWidget

from ...session import MaskMode, OverlapRule
from ..common.controls import combo_box, row, select, set_items

MODES: dict[MaskMode, tuple[str, str]] = {
    "instance": ("Single objects", "Every mask and every stroke is a separate object with its own number"),
    "semantic": ("Whole regions", "Masks and strokes of one class that touch are merged into one region"),
}
OVERLAP_RULES: dict[OverlapRule, tuple[str, str]] = {
    "overwrite": ("Overwrite others", "A new mask takes the pixels of the objects under it"),
    "keep": ("Keep others", "A new mask gets only the pixels that are free"),
    "ask": ("Ask about others", "Ask each time a mask overlaps other objects; brush strokes overwrite them"),
}


@dataclass(frozen=True, slots=True)
class MaskRules:
    """The rules for new masks."""

    mode: MaskMode = "instance"
    overlap: OverlapRule = "overwrite"


class MaskRulesForm(QWidget):
    """Edits `MaskRules` with two drop-down lists side by side."""

    valueChanged = Signal(object)
    """Emitted with the `MaskRules` that the user selected."""

    def __init__(self) -> None:
        super().__init__()
        self.mode = _rule_box(MODES, "Whether a new mask is an object or part of a region")
        self.overlap = _rule_box(OVERLAP_RULES, "What happens to objects under a new mask")
        self.setLayout(row(self.mode, self.overlap))
        for box in (self.mode, self.overlap):
            box.activated.connect(lambda: self.valueChanged.emit(self.value()))

    def value(self) -> MaskRules:
        """Return the rules shown."""
        return MaskRules(self.mode.currentData(), self.overlap.currentData())

    def setValue(self, rules: MaskRules) -> None:
        """Show rules without emitting a signal."""
        select(self.mode, rules.mode)
        select(self.overlap, rules.overlap)


def _rule_box(rules: Mapping[Any, tuple[str, str]], tooltip: str) -> QComboBox:
    lines = [f"{text}: {hint[0].lower()}{hint[1:]}." for text, hint in rules.values()]
    box = combo_box("\n".join((f"{tooltip}:", *lines)), max(len(text) for text, _ in rules.values()) - 2)
    set_items(box, [(text, rule, hint) for rule, (text, hint) in rules.items()])
    return box
