"""Switch of the adaptation to the user's objects, and its effect."""

from __future__ import annotations

from qtpy.QtWidgets import QWidget

from ..common.controls import check_box, elided_label, plain_tooltip, row, set_checked
from ..viewer.training.adaptation import Adaptation

HINT = (
    "Learn from the objects that you commit, in the background; the adapted model is used only if it needs no more "
    "clicks than the original one for objects that it has not learned from"
)


class AdaptationForm(QWidget):
    """Shows what the adaptation has gained, and turns it off or on."""

    def __init__(self, adaptation: Adaptation) -> None:
        super().__init__()
        self._adaptation = adaptation
        self.switch = check_box("Adapt", HINT)
        self.effect = elided_label()
        self.setLayout(row(self.switch, self.effect, stretch=1))
        self.switch.toggled.connect(adaptation.switch)
        adaptation.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Show the current state."""
        set_checked(self.switch, self._adaptation.on)
        self.effect.setText(self._adaptation.summary)
        self.effect.setToolTip(plain_tooltip(self._adaptation.text))
