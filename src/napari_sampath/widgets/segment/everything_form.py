"""Segment everything, and classify the objects by similarity to those that have a class."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from ...predict.everything.settings import EverythingSettings
from ..common.controls import button, column
from ..common.settings_form import SettingsForm

INITIAL = EverythingSettings(
    points_per_side=16,  # A quarter of the time of SAM's 32.
    pred_iou_thresh=0.4,  # SAM's 0.88 drops most objects that small models find.
    stability_score_thresh=0.0,  # Small models have soft logits, of which SAM's 0.95 keeps nothing.
    drop_over_half_image=True,
)
"""Values before the user changes them."""
LIMITS: dict[str, dict[str, float]] = {
    "points_per_side": {"min": 2, "max": 64},
    "pred_iou_thresh": {"min": 0, "max": 0.99, "step": 0.05},
}
"""The fields of the form and their limits in the window; the command line allows more."""
FIND_HINT = "Segment every object that SAM finds and add it as 'unclassified'; Undo removes them"
CLASSIFY_HINT = (
    "Give objects without a class, and those of a head, the class of the most similar classified objects"
)


class EverythingForm(QWidget):
    """Edits `EverythingSettings` and requests the two actions."""

    find_requested = Signal()
    """Segment everything."""
    classify_requested = Signal()
    """Classify objects by similarity."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = SettingsForm(INITIAL, LIMITS, LIMITS)
        self.find_button = button("Find all objects", FIND_HINT, self.find_requested.emit)
        self.classify_button = button("Classify by similarity", CLASSIFY_HINT, self.classify_requested.emit)
        column(self.settings, self.find_button, self.classify_button, parent=self)

    def value(self) -> EverythingSettings:
        """Return the settings shown."""
        return self.settings.value()
