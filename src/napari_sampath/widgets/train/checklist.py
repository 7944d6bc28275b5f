"""The checklist before training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..common.controls import SPACING_PX, delete_widgets, label

if TYPE_CHECKING:
    from ...training.rounds.rounds import DatasetSummary

MET, MISSING, ADVICE = "✓", "✗", "!"


class Checklist(QWidget):
    """Lists the requirements that the training set meets or does not meet."""

    def __init__(self) -> None:
        super().__init__()
        self._layout = QVBoxLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setSpacing(SPACING_PX // 2)
        self.lines: tuple[str, ...] = ()
        """The lines as shown: a symbol and a sentence."""

    def show_requirements(self, summary: DatasetSummary | None) -> bool:
        """Show the checklist of a dataset, and return True if a head can be trained on it."""
        from ...training.rounds.readiness import is_ready, requirements

        found = requirements(summary)
        unmet = [f"{MISSING if line.needed else ADVICE} {line.text}" for line in found if not line.met]
        met = [line.text for line in found if line.met]
        lines = (*unmet, *([f"{MET} {' '.join(met)}"] if met else []))
        if lines != self.lines:
            self.lines = lines
            delete_widgets(self._layout)
            for text in lines:
                self._layout.addWidget(label(text, wrap=True))
        return is_ready(summary)
