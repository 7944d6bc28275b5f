"""Form to "segment everything" and to classify objects by similarity to classified objects."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from ...predict.everything.settings import EverythingSettings
from ..common.controls import button, column
from ..common.settings_form import SettingsForm

INITIAL = EverythingSettings(
    points_per_side=16,  # SAM's default, 32, takes four times as long.
    pred_iou_thresh=0.4,  # SAM's default, 0.88, drops most objects that small models find.
    stability_score_thresh=0.0,  # SAM's default, 0.95, drops everything, as small models have soft logits.
    drop_over_half_image=True,
)
"""Initial values of the form."""
LIMITS: dict[str, dict[str, float]] = {
    "points_per_side": {"min": 2, "max": 64},
    "pred_iou_thresh": {"min": 0, "max": 0.99, "step": 0.05},
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
        self.settings = SettingsForm(INITIAL, LIMITS, LIMITS)
        self.find_button = button("Find all objects", FIND_HINT, self.find_requested.emit)
        self.classify_button = button("Classify by similarity", CLASSIFY_HINT, self.classify_requested.emit)
        column(self.settings, self.find_button, self.classify_button, parent=self)

    def value(self) -> EverythingSettings:
        """Return the settings shown."""
        return self.settings.value()
