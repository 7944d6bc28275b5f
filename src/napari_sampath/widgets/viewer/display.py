"""How objects are drawn: outlines, fill, one class only, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from ..canvas.appearance import FILL

if TYPE_CHECKING:
    from ...session import Session
    from ..canvas.layer_sync import LayerSync


class Display(QObject):
    """Changes how the objects of a session are drawn; the objects do not change.

    Args:
        session: The session.
        layer_sync: Its layers.
        parent: The Qt parent.
    """

    message = Signal(str)
    """Message for the user."""
    changed = Signal()
    """Emitted when something is drawn differently."""

    def __init__(self, session: Session, layer_sync: LayerSync, parent: QObject) -> None:
        super().__init__(parent)
        self._session = session
        self._layer_sync = layer_sync
        self._last_fill = FILL

    @property
    def fill(self) -> float:
        """Opacity of the fill of objects, 0..1."""
        return float(self._layer_sync.layers.classes.opacity)

    @fill.setter
    def fill(self, opacity: float) -> None:
        self._layer_sync.layers.classes.opacity = opacity
        self._last_fill = opacity or self._last_fill
        self.changed.emit()

    @property
    def hidden(self) -> bool:
        """Whether no object is drawn."""
        return not self._layer_sync.layers.objects.visible

    @property
    def only_class(self) -> int:
        """Id of the only class that is drawn; 0 if all are."""
        return self._layer_sync.only_class

    def toggle_fill(self) -> None:
        """Draw outlines only, or the fill too."""
        self.fill = 0.0 if self.fill else self._last_fill
        self.message.emit("Objects are filled." if self.fill else "Objects are drawn as outlines.")

    def toggle_hidden(self) -> None:
        """Hide all objects, or show them again."""
        hide = not self.hidden
        for layer in (self._layer_sync.layers.classes, self._layer_sync.layers.objects):
            layer.visible = not hide
        self.message.emit("All objects are hidden." if hide else "All objects are shown.")
        self.changed.emit()

    def toggle_only_class(self) -> None:
        """Show the objects of the selected class only, or of all classes."""
        active = self._session.active_class
        only = 0 if self.only_class == active else active
        self._layer_sync.show_only(only)
        if only:
            self.message.emit(f"Only '{self._session.classes.by_id(only).name}' is shown.")
        else:
            self.message.emit("All classes are shown.")
        self.changed.emit()
