"""Buttons that mark the verified area of an image, and a check box that shades the other pixels."""

from __future__ import annotations

from functools import partial

from qtpy.QtWidgets import QPushButton, QWidget

from ..common.controls import button, check_box, row
from ..viewer.annotator import Annotator
from ..viewer.viewer_state import ViewerState

BUTTONS = {
    "view": ("View", "Verify the objects in view and mark the rest of the view as background"),
    "image": ("Image", "Verify all objects and mark the rest of the image as background"),
    "reopen": ("Reopen", "Remove the view from the verified area; objects are kept"),
}
"""Name -> text and tooltip of the button."""


class VerifiedAreaTools(QWidget):
    """Marks parts of the image as verified."""

    def __init__(self, state: ViewerState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._shown: Annotator | None = None
        self.buttons: dict[str, QPushButton] = {
            name: button(text, tooltip, partial(self._on_button, name))
            for name, (text, tooltip) in BUTTONS.items()
        }
        self.shade = check_box("Shade the rest", "Darken the area that is not verified")
        self.shade.toggled.connect(self._show_shade)
        layout = row(*self.buttons.values(), self.shade)
        for index in range(len(self.buttons)):
            layout.setStretch(index, 1)
        self.setLayout(layout)
        state.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Apply the check box to another image if the viewer state has changed to it."""
        annotator = self._state.annotator
        if annotator is not self._shown:
            self._shown = annotator
            self._show_shade()
        self.setEnabled(annotator is not None)

    def _show_shade(self) -> None:
        if self._state.annotator is not None:
            self._state.annotator.area_view.on = self.shade.isChecked()

    def _on_button(self, name: str) -> None:
        annotator = self._state.annotator
        if annotator is not None:
            annotator.reopen() if name == "reopen" else annotator.complete(name == "image")
