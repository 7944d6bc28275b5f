"""The three docks as tabs of one viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QApplication

from ..annotate import AnnotateDock
from ..export import ExportDock
from ..segment import SegmentDock

if TYPE_CHECKING:
    from ..workbench import Workbench


def add_docks(viewer: Any, bench: Workbench | None = None) -> tuple[AnnotateDock, SegmentDock, ExportDock]:
    """Add the three docks to a viewer as tabs, Annotate in front."""
    docks = AnnotateDock(viewer, bench), SegmentDock(viewer, bench), ExportDock(viewer, bench)
    for dock, name in zip(docks, ("Annotate", "Auto-segment", "Export"), strict=True):
        viewer.window.add_dock_widget(dock, name=name, area="right", tabify=dock is not docks[0])
    to_front(docks[0])
    return docks


def to_front(dock: Any) -> None:
    """Show a dock's tab."""
    QApplication.processEvents()
    dock.parent().raise_()
    QApplication.processEvents()
