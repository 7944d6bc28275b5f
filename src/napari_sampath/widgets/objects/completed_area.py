"""Says how far an image is annotated, and shows it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QPushButton, QWidget

if TYPE_CHECKING:
    from ..viewer.annotator import Annotator
    from ..viewer.viewer_state import ViewerState

BUTTONS = {
    "view": ("View", "Agree with the annotations in view, and say that nothing else of the classes is there"),
    "image": (
        "Image",
        "Agree with all annotations, and say that nothing else of the classes is in the image",
    ),
    "open": ("Take back", "What is in view is not complete after all; the annotations stay"),
}
"""Name -> label, tooltip."""


class AreaTools(QWidget):
    """What of the image is complete, and whether the rest is shaded.

    Args:
        state: State of the viewer.
    """

    def __init__(self, state: ViewerState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._shown: Annotator | None = None
        self.buttons: dict[str, QPushButton] = {}
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for name, (text, hint) in BUTTONS.items():
            button = self.buttons[name] = QPushButton(text)
            button.setToolTip(hint)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(partial(self._on_button, name))
            row.addWidget(button, 1)
        self.shade = QCheckBox("Shade the rest")
        self.shade.setToolTip("Darken what nobody has annotated yet: heads learn from what is left bright")
        self.shade.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.shade.toggled.connect(self._show)
        row.addWidget(self.shade)
        state.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Follow the viewer state to another image."""
        annotator = self._state.annotator
        if annotator is not self._shown:
            self._shown = annotator
            self._show()
        self.setEnabled(annotator is not None)

    def _show(self) -> None:
        if self._state.annotator is not None:
            self._state.annotator.area_view.on = self.shade.isChecked()

    def _on_button(self, name: str, _checked: bool = False) -> None:
        annotator = self._state.annotator
        if annotator is not None:
            annotator.reopen() if name == "open" else annotator.complete(name == "image")
