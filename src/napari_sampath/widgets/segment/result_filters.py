"""What is made of a head's result: a threshold for each class, a least size, and whether objects that touch are cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QGridLayout, QLabel, QSlider, QSpinBox, QWidget

from ...session.proposals.result_filter import MIN_AREA_PX, ResultFilter

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...arrays import ClassInfo

SETTLE_MS = 150
"""A slider that moves is followed once it has rested for so long."""
HIGHEST = 99


class Filters(QWidget):
    """Shows what is made of a result and tells what the user wishes."""

    changed = Signal()
    """Other thresholds, another least size, or objects cut or not."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.sliders: dict[str, QSlider] = {}
        self._values: dict[str, QLabel] = {}
        self._classes: tuple[ClassInfo, ...] = ()
        self.size = QSpinBox()
        self.size.setRange(1, 1_000_000)
        self.size.setValue(MIN_AREA_PX)
        self.size.setSuffix(" px")
        self.size.setToolTip("Pieces with fewer pixels are left out")
        self.separate_touching = QCheckBox("Separate objects that touch")
        self.separate_touching.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.separate_touching.setToolTip(
            "Cut pieces where they have a neck, so that each nucleus is an object of its own"
        )
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self.changed)
        self.size.valueChanged.connect(lambda _value: self._timer.start())
        self.separate_touching.toggled.connect(lambda _on: self._timer.start())
        self._arrange()

    def value(self) -> ResultFilter:
        """Return the settings of the form."""
        thresholds = {name: slider.value() / 100 for name, slider in self.sliders.items() if slider.value()}
        return ResultFilter(self.size.value(), thresholds, self.separate_touching.isChecked())

    def show_classes(self, classes: Iterable[ClassInfo]) -> None:
        """Show a slider for each class but the rest; those that are there already keep their value."""
        classes = tuple(one for one in classes if one.id > 0)
        if classes == self._classes:
            return
        kept = {info.name: self.sliders[info.name].value() for info in self._classes}
        self._classes = classes
        while self._grid.count():
            item = self._grid.takeAt(0)
            widget = item.widget()
            if widget is not None and widget not in (self.size, self.separate_touching):
                widget.deleteLater()
        self.sliders, self._values = {}, {}
        for info in classes:
            slider = self.sliders[info.name] = QSlider(Qt.Orientation.Horizontal)
            slider.setRange(0, HIGHEST)
            slider.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            slider.setToolTip(f"Leave out pixels that are '{info.name}' with less than this probability")
            self._values[info.name] = QLabel()
            with QSignalBlocker(slider):
                slider.setValue(kept.get(info.name, 0))
            slider.valueChanged.connect(self._on_slider)
        self._arrange()
        self._write()

    def _arrange(self) -> None:
        for row, info in enumerate(self._classes):
            name = QLabel(info.name)
            name.setToolTip(self.sliders[info.name].toolTip())
            self._grid.addWidget(name, row, 0)
            self._grid.addWidget(self.sliders[info.name], row, 1)
            self._grid.addWidget(self._values[info.name], row, 2)
        last = len(self._classes)
        self._grid.addWidget(QLabel("Least size"), last, 0)
        self._grid.addWidget(self.size, last, 1, 1, 2)
        self._grid.addWidget(self.separate_touching, last + 1, 0, 1, 3)
        self._grid.setColumnStretch(1, 1)

    def _on_slider(self) -> None:
        self._write()
        self._timer.start()

    def _write(self) -> None:
        for name, label in self._values.items():
            value = self.sliders[name].value()
            label.setText(f"≥ {value} %" if value else "all")
            label.setMinimumWidth(label.fontMetrics().horizontalAdvance("≥ 100 %"))
