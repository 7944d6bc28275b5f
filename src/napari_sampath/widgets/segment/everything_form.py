"""Form to "segment everything" and to classify objects by similarity to classified objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from ...predict.everything.settings import EverythingSettings
from ..common.controls import button, column
from ..common.settings_form import SettingsForm

if TYPE_CHECKING:
    from ...predict import Model

LIMITS: dict[str, dict[str, float]] = {
    "points_per_side": {"min": 2, "max": 64},
    "pred_iou_thresh": {"min": 0, "max": 0.99, "step": 0.05},
    "tile_px": {"step": 128},
}
"""Field in the form -> limits of its control; the command line allows a wider range."""
FIND_HINT = "Segment every object that SAM finds and add it as 'unclassified'; Undo removes them"
CLASSIFY_HINT = (
    "Give unclassified objects and unreviewed proposals the class of the most similar classified objects"
)


class EverythingForm(QWidget):
    """Edits `EverythingSettings`, with one button to segment everything and one to classify."""

    find_requested = Signal()
    """Emitted to segment everything."""
    classify_requested = Signal()
    """Emitted to classify objects by similarity."""

    def __init__(self) -> None:
        super().__init__()
        self._model = ""
        """Name of the model whose settings were shown."""
        self.settings = SettingsForm(EverythingSettings(), LIMITS, LIMITS)
        self.find_button = button("Find all objects", FIND_HINT, self.find_requested.emit)
        self.classify_button = button("Classify by similarity", CLASSIFY_HINT, self.classify_requested.emit)
        column(self.settings, self.find_button, self.classify_button, parent=self)

    def refresh(self, model: Model | None, enabled: bool) -> None:
        """Enable the buttons, and show the settings of the model; changes by the user are kept for the same model."""
        if model is not None and model.name != self._model:
            self._model = model.name
            self.settings.setValue(EverythingSettings.of_model(model.encoder.info))
        for widget in (self.find_button, self.classify_button):
            widget.setEnabled(enabled)

    def value(self) -> EverythingSettings:
        """Return the settings shown."""
        return self.settings.value()
