"""Which image, which model, which device: the upper part of the Annotate dock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QFormLayout, QHBoxLayout, QPushButton, QSizePolicy, QWidget

from ..viewer.viewer_state import ModelChoice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image

    from ..viewer.jobs import Catalogue

OWN_FILE = "sam"
"""The encoder that is nothing without a file of the user's own."""

LONGEST_SHIPPED = len("sampath-tiny")
"""Letters of a model's name that are never cut off."""

DEVICES = {
    "auto": "automatic",
    "cpu": "CPU",
    "cuda": "GPU (CUDA)",
    "mps": "GPU (Apple)",
}


class ChoicesForm(QWidget):
    """Shows image, model and device, and tells what the user wishes."""

    image_chosen = Signal(object)
    """Wish: an image layer."""
    model_chosen = Signal(object)
    """Wish: a `ModelChoice`."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._images: list[Image] = []
        self._shown: tuple[list[tuple[Image, str]], Image | None] | None = None
        self._catalogue: Catalogue | None = None
        self._choice = ModelChoice()
        self.image = _combo("The image to annotate", 8)
        self.model = _combo("The model that answers clicks", LONGEST_SHIPPED)
        self.device = _combo("Where the model runs", len(DEVICES["auto"]))
        self.file_button = QPushButton("File…")
        self.file_button.setToolTip("Use a weights file of your own for this model")
        self.file_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        model_row = QHBoxLayout()
        model_row.setContentsMargins(0, 0, 0, 0)
        model_row.addWidget(self.model, 1)
        model_row.addWidget(self.file_button)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.addRow("Image", self.image)
        form.addRow("Model", model_row)
        form.addRow("Runs on", self.device)
        self.show_catalogue(None, self._choice)
        self.image.activated.connect(self._on_image)
        self.model.activated.connect(self._on_model)
        self.device.activated.connect(self._on_device)
        self.file_button.clicked.connect(self._on_file)

    def show_images(self, images: Sequence[Image], current: Image | None) -> None:
        """Show the image layers there are, and which one is annotated."""
        shown = [(layer, layer.name) for layer in images], current
        if shown == self._shown:
            return
        self._shown, self._images = shown, list(images)
        with QSignalBlocker(self.image):
            self.image.clear()
            self.image.addItems([layer.name for layer in self._images] or ["Open an image first"])
            self.image.setEnabled(bool(self._images))
            if current in self._images:
                self.image.setCurrentIndex(self._images.index(current))

    def show_catalogue(self, catalogue: Catalogue | None, choice: ModelChoice) -> None:
        """Show the models and devices there are, and the ones in use; None before they are known."""
        if (catalogue, choice) == (self._catalogue, self._choice) and self.model.count():
            return
        self._catalogue, self._choice = catalogue, choice
        encoders = ((choice.name, ""),) if catalogue is None else catalogue.encoders
        devices = ("auto",) if catalogue is None else catalogue.devices
        with QSignalBlocker(self.model), QSignalBlocker(self.device):
            self.model.clear()
            for row, (name, summary) in enumerate(encoders):
                own = choice.weights is not None and name == choice.name
                text = f"{name} ({choice.weights.name})" if own and choice.weights else name
                self.model.addItem(text, name)
                self.model.setItemData(row, summary, Qt.ItemDataRole.ToolTipRole)
            self.model.setCurrentIndex(self.model.findData(choice.name))
            self.device.clear()
            for name in devices:
                self.device.addItem(DEVICES.get(name, name), name)
            self.device.setCurrentIndex(self.device.findData(choice.device))
        for widget in (self.model, self.device, self.file_button):
            widget.setEnabled(catalogue is not None)

    def _on_image(self, row: int) -> None:
        if row < len(self._images):
            self.image_chosen.emit(self._images[row])

    def _on_model(self) -> None:
        name = self.model.currentData()
        if name == OWN_FILE:
            self._on_file()
        else:
            # The one in use, too: it may have failed to load, and shall be tried again.
            weights = self._choice.weights if name == self._choice.name else None
            self.model_chosen.emit(replace(self._choice, name=name, weights=weights))

    def _on_device(self) -> None:
        self.model_chosen.emit(replace(self._choice, device=self.device.currentData()))

    def _on_file(self) -> None:
        name = self.model.currentData()
        path, _ = QFileDialog.getOpenFileName(
            self, f"Weights for {name}", "", "Weights (*.safetensors *.pth *.pt *.bin);;All files (*)"
        )
        if path:
            self.model_chosen.emit(replace(self._choice, name=name, weights=Path(path)))
        else:
            self.model.setCurrentIndex(self.model.findData(self._choice.name))


def _combo(hint: str, letters: int) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(hint)
    combo.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    # A long file name must not widen the dock.
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(letters)
    combo.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    return combo
