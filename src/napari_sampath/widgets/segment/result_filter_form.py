"""Form to filter the result of a head: a threshold per class, a minimum area, separation of touching objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QSlider, QWidget
from superqt.utils import QSignalDebouncer

from ...session.proposals.result_filter import MIN_AREA_PX, ResultFilter
from ..common.controls import column, delete_widgets, label, plain_tooltip
from ..common.settings_form import SettingsForm

DELAY_MS = 150
"""Time without a change, in milliseconds, after which `valueChanged` is emitted."""
MAX_PERCENT = 99


class ResultFilterForm(QWidget):
    """Edits a `ResultFilter`, with a slider for each class of the newest result."""

    valueChanged = Signal(object)
    """Emitted with the new `ResultFilter` once the controls have not changed for `DELAY_MS`."""

    def __init__(self) -> None:
        super().__init__()
        self.sliders: dict[str, QSlider] = {}
        """Class name -> threshold in percent."""
        self._percent: dict[str, QLabel] = {}
        self.settings = SettingsForm(ResultFilter(MIN_AREA_PX), ("min_area_px", "separate_touching"))
        self._grid = QGridLayout()
        self._grid.setContentsMargins(0, 0, 0, 0)
        self._grid.setVerticalSpacing(2)
        self._grid.setColumnStretch(1, 1)
        column(self._grid, self.settings, parent=self)
        self.debouncer = QSignalDebouncer(parent=self)
        self.debouncer.setTimeout(DELAY_MS)
        self.debouncer.triggered.connect(lambda: self.valueChanged.emit(self.value()))
        self.settings.valueChanged.connect(lambda _value: self.debouncer.throttle())

    def value(self) -> ResultFilter:
        """Return the filter shown."""
        settings = self.settings.value()
        thresholds = {name: slider.value() / 100 for name, slider in self.sliders.items() if slider.value()}
        return ResultFilter(settings.min_area_px, thresholds, settings.separate_touching)

    def setValue(self, value: ResultFilter) -> None:
        """Show a filter without emitting a signal."""
        self.settings.setValue(value)
        self._set_percent({name: round(100 * threshold) for name, threshold in value.thresholds.items()})

    def show_classes(self, names: Iterable[str]) -> None:
        """Show a slider for each class name; classes that were shown before keep their thresholds."""
        names = tuple(names)
        if names == tuple(self.sliders):
            return
        previous = {name: slider.value() for name, slider in self.sliders.items()}
        delete_widgets(self._grid)
        self.sliders, self._percent = {}, {}
        for row, name in enumerate(names):
            slider = self.sliders[name] = QSlider(Qt.Orientation.Horizontal)
            slider.setRange(0, MAX_PERCENT)
            slider.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            slider.setAccessibleName(f"Minimum probability of {name}")
            slider.setToolTip(plain_tooltip(f"Drop pixels of '{name}' with a lower probability"))
            slider.valueChanged.connect(self._on_slider)
            self._percent[name] = label()
            self._percent[name].setMinimumWidth(self.fontMetrics().horizontalAdvance("≥ 100 %"))
            self._grid.addWidget(label(name), row, 0)
            self._grid.addWidget(slider, row, 1)
            self._grid.addWidget(self._percent[name], row, 2)
        self._set_percent(previous)

    def _set_percent(self, percent: Mapping[str, int]) -> None:
        for name, slider in self.sliders.items():
            with QSignalBlocker(slider):
                slider.setValue(percent.get(name, 0))
        self._show_percent()

    def _on_slider(self) -> None:
        self._show_percent()
        self.debouncer.throttle()

    def _show_percent(self) -> None:
        for name, slider in self.sliders.items():
            self._percent[name].setText(f"≥ {slider.value()} %" if slider.value() else "all")
