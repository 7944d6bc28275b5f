"""Make controls for the docks.

Tab reaches all of them. Buttons, sliders and drop-down lists leave the keyboard focus on the canvas when they are
clicked, so that the next key acts on the image.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QCheckBox,
    QComboBox,
    QFormLayout,
    QGridLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

SPACING_PX = 4


def plain_tooltip(text: str) -> str:
    """Return a tooltip that shows `text` as it is, because Qt takes tooltips that contain tags as HTML."""
    return f"<span>{html.escape(text)}</span>" if Qt.mightBeRichText(text) else text


def button(
    text: str, tooltip: str = "", on_click: Callable[[], object] | None = None, checkable: bool = False
) -> QPushButton:
    """Make a push button; `on_click` is called without arguments."""
    widget = QPushButton(text)
    widget.setToolTip(plain_tooltip(tooltip))
    widget.setCheckable(checkable)
    widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    widget.setAccessibleName(text if len(text) > 1 else tooltip)
    if on_click is not None:
        widget.clicked.connect(lambda: on_click())
    return widget


def check_box(text: str, tooltip: str, checked: bool = False) -> QCheckBox:
    """Make a check box."""
    widget = QCheckBox(text)
    widget.setToolTip(plain_tooltip(tooltip))
    widget.setChecked(checked)
    widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return widget


def spin_box(
    tooltip: str, minimum: int, maximum: int, value: int, prefix: str = "", suffix: str = ""
) -> QSpinBox:
    """Make a spin box for integers."""
    widget = QSpinBox()
    widget.setRange(minimum, maximum)
    widget.setValue(value)
    widget.setPrefix(prefix)
    widget.setSuffix(suffix)
    widget.setToolTip(plain_tooltip(tooltip))
    widget.setAccessibleName(tooltip.partition("\n")[0].rstrip(":"))
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return widget


def combo_box(tooltip: str, min_letters: int = 8) -> QComboBox:
    """Make a drop-down list that fills its row; entries of more than `min_letters` letters do not widen it."""
    widget = QComboBox()
    widget.setToolTip(plain_tooltip(tooltip))
    widget.setAccessibleName(tooltip.partition("\n")[0].rstrip(":"))
    widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    widget.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    widget.setMinimumContentsLength(min_letters)
    widget.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return widget


def set_items(combo: QComboBox, items: Iterable[Sequence[Any]], selected: object = None) -> None:
    """Replace the entries (text, data[, tooltip]) and select the entry `selected`, without emitting signals."""
    with QSignalBlocker(combo):
        combo.clear()
        for row, (text, data, *tooltip) in enumerate(items):
            combo.addItem(text, data)
            combo.setItemData(row, plain_tooltip("".join(tooltip)), Qt.ItemDataRole.ToolTipRole)
    select(combo, selected)


def select(combo: QComboBox, data: object) -> None:
    """Select the entry with this data, or else the first entry, without emitting signals."""
    with QSignalBlocker(combo):
        combo.setCurrentIndex(max(0, combo.findData(data)))


def set_checked(widget: QAbstractButton, checked: bool) -> None:
    """Check or uncheck a button without emitting signals."""
    with QSignalBlocker(widget):
        widget.setChecked(checked)


def delete_widgets(layout: QLayout) -> None:
    """Remove all widgets of a layout and delete them."""
    while (item := layout.takeAt(0)) is not None:
        widget = item.widget()
        if widget is not None:
            widget.hide()  # Qt deletes the widget later.
            widget.deleteLater()


def label(text: str = "", wrap: bool = False) -> QLabel:
    """Make a label for plain text, which is never parsed as HTML."""
    widget = QLabel(text)
    widget.setTextFormat(Qt.TextFormat.PlainText)
    widget.setWordWrap(wrap)
    return widget


def elided_label(text: str = "") -> QElidingLabel:
    """Make a label that elides the middle of a name that is wider than its row."""
    widget = QElidingLabel(text)
    widget.setTextFormat(Qt.TextFormat.PlainText)
    widget.setElideMode(Qt.TextElideMode.ElideMiddle)
    widget.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return widget


def row(*items: QWidget | QLayout, stretch: int | None = None) -> QHBoxLayout:
    """Put controls side by side; `stretch` is the index of the control that takes the free width."""
    return _filled(QHBoxLayout(), items, stretch)


def column(*items: QWidget | QLayout, parent: QWidget | None = None) -> QVBoxLayout:
    """Stack controls vertically, in the layout of `parent` if it is given."""
    return _filled(QVBoxLayout(parent), items, None)


def form(*rows: tuple[str, QWidget | QLayout], parent: QWidget | None = None) -> QFormLayout:
    """Stack controls vertically, each with a label on its left."""
    layout = QFormLayout(parent)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setVerticalSpacing(SPACING_PX)
    for text, item in rows:
        layout.addRow(text, item)
    return layout


def button_grid(widgets: Iterable[QWidget], columns: int) -> QGridLayout:
    """Arrange controls in a grid with this number of columns."""
    layout = QGridLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(SPACING_PX)
    for number, widget in enumerate(widgets):
        layout.addWidget(widget, number // columns, number % columns)
    return layout


def group(title: str, *widgets: QWidget) -> QGroupBox:
    """Stack controls vertically in a box with a title."""
    box = QGroupBox(title)
    column(*widgets, parent=box).setContentsMargins(6, 2, 6, 2)
    box.setAlignment(Qt.AlignmentFlag.AlignLeft)
    return box


def _filled(layout: Any, items: Iterable[QWidget | QLayout], stretch: int | None) -> Any:
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(SPACING_PX)
    for index, item in enumerate(items):
        add = layout.addWidget if isinstance(item, QWidget) else layout.addLayout
        add(item, 1 if index == stretch else 0)
    return layout
