"""Which objects a table shows: of one class, of one origin, or those that nobody has reviewed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QGridLayout, QWidget

from .table import SOURCES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ...arrays import ClassInfo
    from ...session import ObjectRow

ALL = "all"


class ObjectFilters(QWidget):
    """Class, origin and review state."""

    changed = Signal()
    """Other objects are wanted."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.of_class = _combo("Show objects of one class only")
        self.source = _combo("Show objects that came about in one way only")
        self.unreviewed = QCheckBox("Not reviewed yet")
        self.unreviewed.setToolTip("Show only objects that nobody has ticked as reviewed yet")
        self.unreviewed.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.of_class, 0, 0)
        grid.addWidget(self.source, 0, 1)
        grid.addWidget(self.unreviewed, 1, 0, Qt.AlignmentFlag.AlignLeft)
        self.show_classes(())
        self.source.addItem("Any origin", ALL)
        for source, text in SOURCES.items():
            self.source.addItem(text.capitalize(), source)
        for combo in (self.of_class, self.source):
            combo.activated.connect(lambda: self.changed.emit())
        self.unreviewed.toggled.connect(lambda: self.changed.emit())

    def show_classes(self, classes: Iterable[ClassInfo]) -> None:
        """Offer classes; the one chosen stays so, if it is among them."""
        chosen = self.of_class.currentData()
        with QSignalBlocker(self.of_class):
            self.of_class.clear()
            self.of_class.addItem("All classes", ALL)
            for info in classes:
                self.of_class.addItem(info.name, info.id)
            self.of_class.setCurrentIndex(max(0, self.of_class.findData(chosen)))

    def value(self) -> Callable[[ObjectRow], bool] | None:
        """Return what tells whether an object is wanted; None if all are."""
        class_id, source = self.of_class.currentData(), self.source.currentData()
        unreviewed = self.unreviewed.isChecked()
        if class_id == source == ALL and not unreviewed:
            return None

        def wanted(row: ObjectRow) -> bool:
            of_kind = class_id in (ALL, row.class_id) and source in (ALL, row.source)
            return of_kind and not (unreviewed and row.reviewed)

        return wanted


def _combo(hint: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(hint)
    combo.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(8)
    return combo
