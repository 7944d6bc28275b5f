"""Hide the rows of helper layers in napari's layer list."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.layers import Layer
from napari.viewer import Viewer
from qtpy.QtCore import Qt

ITEM_ROLE = Qt.ItemDataRole.UserRole
"""Role of the layer of a row (`napari._qt.containers._base_item_model.ItemRole`)."""


class HiddenRows:
    """Hides the rows of some layers in napari's layer list; napari 0.9 has no groups of layers.

    Replaces: nothing public; reads `Window._qt_viewer.layers`, a list view, and the layers in its model.
    Fallback: all rows are shown.

    Args:
        viewer: The viewer.
        hidden: Returns whether the row of a layer is hidden.
    """

    def __init__(self, viewer: Viewer, hidden: Callable[[Layer], bool]) -> None:
        self._viewer = viewer
        self._hidden = hidden
        events = viewer.layers.events
        self._events = [events.inserted, events.removed, events.moved, events.reordered]
        for event in self._events:
            event.connect(self.update, position="last")
        self.update()

    def update(self, _event: object = None) -> None:
        """Hide and show the rows."""
        view = self._view()
        if view is None:
            return
        model = view.model()
        for row in range(model.rowCount()):
            layer = model.index(row, 0).data(ITEM_ROLE)
            view.setRowHidden(row, isinstance(layer, Layer) and self._hidden(layer))

    def close(self) -> None:
        """Show all rows."""
        for event in self._events:
            event.disconnect(self.update)
        self._hidden = lambda _layer: False
        self.update()

    def _view(self) -> Any:
        view = getattr(getattr(self._viewer.window, "_qt_viewer", None), "layers", None)
        return view if hasattr(view, "setRowHidden") and hasattr(view, "model") else None
