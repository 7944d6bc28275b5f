"""Build a form from a dataclass of settings with magicgui."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from magicgui.widgets import create_widget
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QComboBox, QWidget

from ...settings import field_docs
from .controls import form

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")

OPTIONS = ("min", "max", "step", "choices")
"""Keys of the metadata that are passed to the magicgui widget."""


class SettingsForm(QWidget, Generic[T]):
    """Edits a frozen dataclass whose fields are declared with `settings.setting`.

    A number is edited in a spin box, a bool in a check box, and a string with choices in a drop-down list. Fields that
    are not shown keep their values.

    Args:
        settings: The initial settings.
        names: The fields to show, in this order; by default all fields that have a label.
        limits: Field name -> metadata that override the metadata of the field in this form, such as a lower "max".
    """

    valueChanged = Signal(object)
    """Emitted with the settings after the user changed them."""

    def __init__(
        self, settings: T, names: Iterable[str] = (), limits: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__()
        self._settings = settings
        self._layout = form(parent=self)
        self.widgets: dict[str, Any] = {}
        """Field name -> magicgui widget."""
        metadata = {field.name: field.metadata for field in fields(settings)}
        docs = field_docs(type(settings))
        for name in names or (name for name in metadata if "label" in metadata[name]):
            texts = {"label": name, "tooltip": docs.get(name, "")}
            self._add(name, **{**texts, **metadata[name], **(limits or {}).get(name, {})})

    def value(self) -> T:
        """Return the settings that are shown."""
        return replace(self._settings, **{name: widget.value for name, widget in self.widgets.items()})

    def setValue(self, settings: T) -> None:
        """Show other settings, without emitting a signal."""
        self._settings = settings
        for name, widget in self.widgets.items():
            with widget.changed.blocked():
                widget.value = getattr(settings, name)

    def _add(self, name: str, label: str, tooltip: str, **metadata: Any) -> None:
        value = getattr(self._settings, name)
        options = {key: metadata[key] for key in OPTIONS if key in metadata}
        if "choices" in options:  # Values such as "file-order" are those of the command line.
            options["choices"] = [(str(choice).replace("-", " "), choice) for choice in options["choices"]]
        widget = create_widget(value=value, annotation=type(value), name=name, options=options)
        widget.native.setToolTip(tooltip)
        widget.native.setAccessibleName(label)
        if isinstance(value, bool):
            widget.native.setText(label)
            widget.native.setFocusPolicy(Qt.FocusPolicy.TabFocus)
            self._layout.addRow(widget.native)
        else:
            is_list = isinstance(widget.native, QComboBox)
            widget.native.setFocusPolicy(Qt.FocusPolicy.TabFocus if is_list else Qt.FocusPolicy.StrongFocus)
            self._layout.addRow(label, widget.native)
        widget.changed.connect(lambda _value: self.valueChanged.emit(self.value()))
        self.widgets[name] = widget
