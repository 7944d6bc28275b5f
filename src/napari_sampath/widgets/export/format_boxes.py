"""Which formats an export is written in."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

FORMATS = {
    "png": ("PNG", "Label images in the class colours, which open anywhere"),
    "tiff": ("TIFF", "Label images for programs such as Fiji"),
    "geojson": (
        "GeoJSON for QuPath",
        "Outlines with classes, colours, holes and parts; drag it onto the image",
    ),
    "coco": ("COCO (run lengths)", "For machine learning; the same to the pixel"),
    "coco-polygons": ("COCO (polygons)", "For programs that read outlines only"),
    "ome-zarr": ("OME-Zarr", "Label images in pyramids, for large images"),
}
"""Format -> name, and what it is good for."""
TICKED = ("png", "tiff")
"""Ticked at first."""


class FormatBoxes(QWidget):
    """A tick box for each format."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.boxes: dict[str, QCheckBox] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        for name, (text, hint) in FORMATS.items():
            box = self.boxes[name] = QCheckBox(text)
            box.setToolTip(hint)
            box.setChecked(name in TICKED)
            box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            column.addWidget(box)

    def value(self) -> tuple[str, ...]:
        """Return the formats that are ticked."""
        return tuple(name for name, box in self.boxes.items() if box.isChecked())
