"""Check boxes for the formats of an export, and the filter of the file dialog for imports."""

from __future__ import annotations

from collections.abc import Iterable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QWidget

from ...formats.registry import readable, writable
from ..common.controls import check_box

FIRST = ("png", "tiff", "geojson")
"""Formats that are listed first, because most programs read them."""
SELECTED = ("png", "tiff")
"""Formats that are selected at first."""
_COLUMNS = 2


class FormatList(QWidget):
    """Two columns of check boxes, one for each format that can be written."""

    valueChanged = Signal(object)
    """Emitted with the names of the selected formats after the user changed them."""

    def __init__(self) -> None:
        super().__init__()
        self.widgets: dict[str, QCheckBox] = {}
        """Name of the format -> check box."""
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setVerticalSpacing(2)
        first = {name: place for place, name in enumerate(FIRST)}
        ordered = sorted(
            writable(), key=lambda entry: (first.get(entry.name, len(first)), entry.label.casefold())
        )
        rows = -(-len(ordered) // _COLUMNS)
        for place, entry in enumerate(ordered):
            box = check_box(entry.label, f"{entry.summary} {entry.lost}".strip(), entry.name in SELECTED)
            box.clicked.connect(lambda _checked: self.valueChanged.emit(self.value()))
            grid.addWidget(box, place % rows, place // rows)
            self.widgets[entry.name] = box

    def value(self) -> tuple[str, ...]:
        """Return the names of the selected formats."""
        return tuple(name for name, box in self.widgets.items() if box.isChecked())

    def setValue(self, names: Iterable[str]) -> None:
        """Select formats, without emitting a signal."""
        names = set(names)
        for name, box in self.widgets.items():
            box.setChecked(name in names)


def file_filter() -> str:
    """Return the filter of a file dialog for all formats that can be imported."""
    suffixes = sorted({suffix for entry in readable() for suffix in entry.suffixes if suffix.startswith(".")})
    patterns = " ".join(f"*{suffix}" for suffix in suffixes)
    return f"Annotations ({patterns});;All files (*)"
