"""Keyboard and screen readers: Tab reaches every control of the docks, and each has a name."""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QHeaderView,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QScrollBar,
    QTabBar,
    QWidget,
)

from napari_sampath.widgets.panel.panel import TABS, SamPathPanel
from support.dock_layout import assert_nothing_cut_off
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gui

CONTROLS = (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QPlainTextEdit,
    QTabBar,
)
MOST_TABS = 400
"""More than there are controls in the window."""


@pytest.mark.parametrize("name", ["start page", *TABS, "folder:Folder"])
def test_tab_reaches_every_control_and_each_has_a_name(
    open_window: Callable[..., Any], tissue: np.ndarray, tmp_path: Path, name: str
) -> None:
    window = open_window(tissue, DiscModel())
    top, dock = shown(window, tissue, tmp_path, name)
    GuiDriver(window.viewer, window.state.image).click(50, 60)
    wait_until(lambda: window.session.prompts.candidate is not None, 60, "the candidate")
    count, wanted = len(window.session.document.objects), controls(top)
    reached = walk(wanted[0])
    problems = [
        f"{describe(widget)} is not reached by Tab" for widget in wanted if not is_reached(widget, reached)
    ]
    for widget in wanted:
        text = widget.text() if isinstance(widget, QAbstractButton) else ""
        name_read = widget.accessibleName() or text
        if not re.search(r"[^\W\d_]{2}", name_read):
            problems.append(f"{describe(widget)} has no name")
        if not re.search(r"[^\W\d_]{2}", text or "text") and not widget.toolTip():
            problems.append(f"{describe(widget)} has only a symbol and no tooltip")
        if not is_input(widget) and widget.focusPolicy() & Qt.FocusPolicy.ClickFocus:
            problems.append(f"{describe(widget)} takes the keys of the canvas when it is clicked")
        if isinstance(widget, QLineEdit | QAbstractSpinBox):
            widget.setFocus()
            QTest.keyClick(widget, Qt.Key.Key_Return)
            if QApplication.focusWidget() is not window.driver.native:
                problems.append(f"{describe(widget)} keeps the keys after Enter")
    assert not problems, "\n".join(problems)
    assert len(window.session.document.objects) == count, "Enter in a field commits no candidate"
    for bar in top.findChildren(QProgressBar):
        assert bar.maximum() > bar.minimum(), "an animated bar takes half a core where OpenGL is software"
    for theme in ("dark", "light"):
        window.viewer.theme = theme
        window.driver.settle()
        assert_nothing_cut_off(window.viewer, dock)


def shown(window: Any, tissue: np.ndarray, folder: Path, name: str) -> tuple[QWidget, Any]:
    """Show a tab of the panel, or a single dock, with a project, objects, and all parts that can be unfolded."""
    state = window.state
    window.session.paint(*np.indices((20, 20)).reshape(2, -1), 1)
    if name != "start page":
        state.training.choose(folder / "glands", "Glands")
        wait_until(lambda: state.training.heads is not None, 60, "the project")
    if ":" in name:
        module, kind = name.split(":")
        top = dock = getattr(import_module(f"napari_sampath.widgets.{module}.dock"), f"{kind}Dock")(
            window.viewer, state
        )
    else:
        top = SamPathPanel(window.viewer, state)
        dock = top.show_tab("Project" if name == "start page" else name)
    window.viewer.window.add_dock_widget(top, name="SamPath", area="right")
    window.viewer.window.remove_dock_widget(window.dock)
    if name in ("start page", "folder:Folder"):
        (folder / "images").mkdir()
        Image.fromarray(tissue[::-1]).save(folder / "images" / "a.png")
        dock.controller.open_folder(folder / "images")
        wait_until(lambda: dock.controller.session is not None and state.ready, 60, "the folder")
    if name == "Auto-segment":
        dock.filters.show_classes(("gland",))
    window.driver.settle()
    for part in ("notes_button", "options_button", "limits_button"):
        for button in (vars(holder).get(part) for holder in top.findChildren(QWidget)):
            if button is not None:
                window.driver.press(button)
    return top, dock


def controls(top: QWidget) -> list[QWidget]:
    """List the controls that a user can operate now."""
    return [
        widget
        for widget in top.findChildren(QWidget)
        if isinstance(widget, CONTROLS)
        and not isinstance(widget, QScrollBar | QHeaderView)
        and widget.isVisible()
        and widget.isEnabled()
        and not isinstance(widget.parentWidget(), QComboBox | QAbstractSpinBox | QAbstractItemView | QTabBar)
    ]


def walk(first: QWidget) -> set[QWidget]:
    """Press Tab until all controls of the window were reached, and return them."""
    window = first.window()
    window.activateWindow()
    wait_until(window.isActiveWindow, 60, "the window to be active")
    first.setFocus(Qt.FocusReason.TabFocusReason)
    reached: list[QWidget] = []
    while (focus := QApplication.focusWidget()) is not None and focus not in reached:
        reached.append(focus)
        QTest.keyClick(focus, Qt.Key.Key_Tab)
        assert len(reached) < MOST_TABS
    return set(reached)


def is_reached(widget: QWidget, reached: set[QWidget]) -> bool:
    """Return True if Tab reaches a control; arrow keys move between the buttons of an exclusive group."""
    group = widget.group() if isinstance(widget, QAbstractButton) else None
    members = group.buttons() if group is not None and group.exclusive() else [widget]
    return any(member in reached for member in members)


def is_input(widget: QWidget) -> bool:
    """Return True if the keys that follow a click on a control are meant for it."""
    texts = QAbstractItemView | QAbstractSpinBox | QLineEdit | QPlainTextEdit
    return isinstance(widget, texts) or (isinstance(widget, QComboBox) and widget.isEditable())


def describe(widget: QWidget) -> str:
    text = widget.text() if isinstance(widget, QAbstractButton) else ""
    return f"{type(widget).__name__} '{widget.accessibleName() or text or widget.objectName()}'"
