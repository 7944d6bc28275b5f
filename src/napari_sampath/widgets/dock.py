"""What the three docks have in common: a scrolling column, the workbench of the viewer, and a clean end."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QPushButton, QScrollArea, QVBoxLayout, QWidget

from .workbench import Workbench, workbench_of

MIN_WIDTH_PX = 290


class Dock(QScrollArea):
    """A column of controls that scrolls where the window is too low, bound to one viewer's workbench.

    Args:
        napari_viewer: The viewer, or napari's public proxy of it.
        bench: The workbench to use; that of the viewer if left out.
    """

    def __init__(self, napari_viewer: Any, bench: Workbench | None = None) -> None:
        super().__init__()
        self.bench = bench or workbench_of(napari_viewer)
        inside = QWidget()
        self.column = QVBoxLayout(inside)
        self.column.setContentsMargins(8, 8, 8, 8)
        self.column.setSpacing(8)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(MIN_WIDTH_PX)
        self.bench.join()
        # Nothing of this object may be used once it is destroyed: the link holds the workbench only.
        self.destroyed.connect(partial(_end, self.bench))

    def button(self, text: str, hint: str) -> QPushButton:
        """Make a button that leaves the keyboard to the image."""
        button = QPushButton(text)
        button.setToolTip(hint)
        button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        return button


def _end(bench: Workbench, _dock: object = None) -> None:
    bench.leave()
