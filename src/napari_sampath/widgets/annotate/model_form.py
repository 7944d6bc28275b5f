"""Form that selects the image, the model and the device, at the top of the Annotate dock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QWidget

from ..common.controls import (
    button,
    column,
    combo_box,
    form,
    label,
    plain_tooltip,
    row,
    select,
    set_items,
)
from ..viewer.jobs import Catalogue
from ..viewer.viewer_state import ModelChoice

if TYPE_CHECKING:
    from napari.layers import Image

USER_WEIGHTS = "sam"
"""Name of the encoder whose weights file the user selects."""
DEVICES = {"auto": "automatic", "cpu": "CPU", "cuda": "GPU (CUDA)", "mps": "GPU (Apple)"}


MODEL_HINT = "The model that segments what you click"


class ModelForm(QWidget):
    """Edits a `ModelChoice`, and selects the image layer to annotate."""

    valueChanged = Signal(object)
    """Emitted with the selected `ModelChoice`, even if it did not change, so that the user can retry loading."""
    image_selected = Signal(object)
    """Emitted with the image layer that the user selected."""

    def __init__(self) -> None:
        super().__init__()
        self._images: list[Image] = []
        self._shown_images: tuple[list[tuple[Image, str]], Image | None] | None = None
        self._catalogue: Catalogue | None = None
        self._choice: ModelChoice | None = None
        self.image = combo_box("The image to annotate")
        self.model = combo_box(MODEL_HINT, len("sampath-tiny"))
        self.device = combo_box("The device that the model runs on", len(DEVICES["auto"]))
        self.file_button = button("File…", "Load your own weights file for this model", self._choose_file)
        self._asked: ModelChoice | None = None
        """The chosen model whose download the user has not yet confirmed."""
        self.question = label(wrap=True)
        self.download_button = button("Download", "Download the model and use it", self._download)
        self.cancel_button = button("Cancel", "Keep the current model", self._cancel)
        self.consent = QWidget()
        column(self.question, row(self.download_button, self.cancel_button), parent=self.consent)
        self.consent.hide()
        self.device_row = row(self.device)
        """Row of the device, to which the dock adds the switch of the adaptation."""
        model_row = row(self.model, self.file_button, stretch=0)
        layout = form(("Image", self.image), ("Model", model_row), ("Runs on", self.device_row), parent=self)
        layout.addRow(self.consent)
        self.show_catalogue(None, ModelChoice())
        self.image.activated.connect(self._on_image)
        self.model.activated.connect(self._on_model)
        self.device.activated.connect(self._on_device)

    def value(self) -> ModelChoice:
        """Return the model shown."""
        return self._choice or ModelChoice()

    def setValue(self, choice: ModelChoice) -> None:
        """Show a model without emitting a signal."""
        self.show_catalogue(self._catalogue, choice)

    def show_images(self, images: Sequence[Image], current: Image | None) -> None:
        """List the image layers and select the current one."""
        shown = [(layer, layer.name) for layer in images], current
        if shown == self._shown_images:
            return
        self._shown_images, self._images = shown, list(images)
        names = [layer.name for layer in images] or ["Open an image first"]
        selected = self._images.index(current) if current in self._images else 0
        set_items(self.image, [(name, index) for index, name in enumerate(names)], selected)
        self.image.setEnabled(bool(self._images))

    def show_catalogue(self, catalogue: Catalogue | None, choice: ModelChoice) -> None:
        """List models and devices, and select those of `choice`; `catalogue` is None while it is loading."""
        if (catalogue, choice) == (self._catalogue, self._choice):
            return
        self._catalogue, self._choice = catalogue, choice
        encoders = ((choice.name, ""),) if catalogue is None else catalogue.encoders
        devices = ("auto",) if catalogue is None else catalogue.devices
        file = "" if choice.weights is None else f" ({choice.weights.name})"
        downloads = {} if catalogue is None else catalogue.downloads
        models = [
            (f"{name}{file}" if name == choice.name else _title(name, downloads), name, summary)
            for name, summary in encoders
        ]
        set_items(self.model, models, choice.name)
        card = next((summary for name, summary in encoders if name == choice.name and summary), "")
        self.model.setToolTip(plain_tooltip(card or MODEL_HINT))
        set_items(self.device, [(DEVICES.get(name, name), name) for name in devices], choice.device)
        for widget in (self.model, self.device, self.file_button):
            widget.setEnabled(catalogue is not None)

    def _on_image(self, index: int) -> None:
        if index < len(self._images):
            self.image_selected.emit(self._images[index])

    def _on_model(self) -> None:
        name, choice = self.model.currentData(), self.value()
        if name == USER_WEIGHTS:
            self._choose_file()
        else:
            weights = choice.weights if name == choice.name else None
            self._select(replace(choice, name=name, weights=weights))

    def _select(self, choice: ModelChoice) -> None:
        """Use a model; ask before a download starts."""
        download = "" if self._catalogue is None else self._catalogue.download(choice.name)
        if not download or choice.weights is not None or choice.name == self.value().name:
            self._ask(None, "")
            self.valueChanged.emit(choice)
        else:
            self._ask(choice, f"'{choice.name}' is not on this machine ({download}). Download it?")

    def _ask(self, choice: ModelChoice | None, text: str) -> None:
        self._asked = choice
        self.question.setText(text)
        self.consent.setVisible(choice is not None)

    def _download(self) -> None:
        choice = self._asked
        self._ask(None, "")
        if choice is not None:
            self.valueChanged.emit(choice)

    def _cancel(self) -> None:
        self._ask(None, "")
        select(self.model, self.value().name)

    def _on_device(self) -> None:
        self.valueChanged.emit(replace(self.value(), device=self.device.currentData()))

    def _choose_file(self) -> None:
        name = self.model.currentData()
        path, _ = QFileDialog.getOpenFileName(
            self, f"Weights for {name}", "", "Weights (*.safetensors *.pth *.pt *.bin);;All files (*)"
        )
        if path:
            self.valueChanged.emit(replace(self.value(), name=name, weights=Path(path)))
        else:
            select(self.model, self.value().name)


def _title(name: str, downloads: Mapping[str, str]) -> str:
    """Return the name of a model, with its size if it has to be downloaded first."""
    return f"{name} (download, {downloads[name].partition(',')[0]})" if name in downloads else name
