"""Segment everything, and classes for what it found: by click, or by likeness to what is classified already."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QPushButton, QSpinBox, QVBoxLayout, QWidget

POINTS = 16
"""Points along each side that are asked at first; SAM's own 32 take four times as long."""
SURE = 40
"""Least predicted IoU in percent; SAM's own 88 leaves out what small models find."""


class Everything(QWidget):
    """What the user can wish around "segment everything"; the dock does it."""

    wanted = Signal()
    """Wish: find everything."""
    likeness_wanted = Signal()
    """Wish: classify by likeness."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.points = QSpinBox()
        self.points.setRange(2, 64)
        self.points.setValue(POINTS)
        self.points.setToolTip(
            "How densely to look: points along each side; twice as many take four times as long"
        )
        self.sure = QSpinBox()
        self.sure.setRange(0, 99)
        self.sure.setValue(SURE)
        self.sure.setSuffix(" %")
        self.sure.setToolTip(
            "Leave objects out of which the model expects a worse outline than this (predicted IoU)"
        )
        self.find_button = QPushButton("Find all objects")
        self.find_button.setToolTip("Every object SAM sees is added as 'unclassified'; undo takes it back")
        self.like_button = QPushButton("Classify by likeness")
        self.like_button.setToolTip(
            "Give 'unclassified' objects, and a head's, the class of the most similar objects that you classified"
        )
        for button in (self.find_button, self.like_button):
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        form = QFormLayout()
        form.setVerticalSpacing(4)
        form.addRow("Points a side", self.points)
        form.addRow("At least sure", self.sure)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(form)
        column.addWidget(self.find_button)
        column.addWidget(self.like_button)
        self.find_button.clicked.connect(self.wanted)
        self.like_button.clicked.connect(self.likeness_wanted)
