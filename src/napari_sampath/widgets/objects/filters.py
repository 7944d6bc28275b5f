"""Filter the table of objects by class, origin and review state."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QWidget

from ...annotations import AnnotatedObject
from ...arrays import ClassInfo
from ..common.controls import SPACING_PX, check_box, combo_box, select, set_checked, set_items
from .table import SOURCES


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Filter for the objects in the table."""

    class_id: int | None = None
    """Id of the class to show; None for all classes."""
    source: str | None = None
    """Origin to show (`AnnotatedObject.source`); None for all origins."""
    unreviewed: bool = False
    """Whether to show only objects that are not reviewed yet."""

    def accepts(self, row: AnnotatedObject) -> bool:
        """Return whether the table shows an object."""
        return (
            self.class_id in (None, row.class_id)
            and self.source in (None, row.source)
            and not (self.unreviewed and row.reviewed)
        )


class ObjectFilterForm(QWidget):
    """Edits an `ObjectFilter`."""

    valueChanged = Signal(object)
    """Emitted with the `ObjectFilter` that the user selected."""

    def __init__(self) -> None:
        super().__init__()
        self.class_id = combo_box("Show only the objects of one class")
        self.source = combo_box("Show only the objects of one origin")
        self.unreviewed = check_box("Not reviewed", "Show only objects that are not reviewed yet")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(SPACING_PX)
        grid.addWidget(self.class_id, 0, 0)
        grid.addWidget(self.source, 0, 1)
        grid.addWidget(self.unreviewed, 1, 0, Qt.AlignmentFlag.AlignLeft)
        self.show_classes(())
        origins = [(text.capitalize(), source) for source, text in SOURCES.items()]
        set_items(self.source, [("Any origin", None), *origins])
        for signal in (self.class_id.activated, self.source.activated, self.unreviewed.toggled):
            signal.connect(lambda: self.valueChanged.emit(self.value()))

    def show_classes(self, classes: Iterable[ClassInfo]) -> None:
        """List classes; the selected class stays selected if it is among them."""
        entries = [(info.name, info.id) for info in classes]
        set_items(self.class_id, [("All classes", None), *entries], self.class_id.currentData())

    def value(self) -> ObjectFilter:
        """Return the filter shown."""
        return ObjectFilter(
            self.class_id.currentData(), self.source.currentData(), self.unreviewed.isChecked()
        )

    def setValue(self, value: ObjectFilter) -> None:
        """Show a filter without emitting a signal."""
        select(self.class_id, value.class_id)
        select(self.source, value.source)
        set_checked(self.unreviewed, value.unreviewed)
