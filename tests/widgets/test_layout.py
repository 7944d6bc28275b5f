"""The docks fit into a window of 1,280 x 800 px in the dark and the light theme."""

from __future__ import annotations

from importlib import import_module
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QLabel

from napari_sampath.widgets.common import controls
from napari_sampath.widgets.common.base_dock import Dock
from napari_sampath.widgets.train.text_table import TextTable
from napari_sampath.widgets.viewer.key_settings import keys_file
from support.dock_layout import assert_nothing_cut_off
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

DOCKS = {
    "objects": "Objects",
    "segment": "Segment",
    "train": "Train",
    "folder": "Folder",
    "export": "Export",
}.items()


def test_each_dock_fits(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.session.paint(*np.indices((20, 20)).reshape(2, -1), 1)
    docks = []
    for module, kind in DOCKS:
        dock = getattr(import_module(f"napari_sampath.widgets.{module}.dock"), f"{kind}Dock")(
            window.viewer, window.state
        )
        window.viewer.window.add_dock_widget(dock, name=kind, area="right", tabify=True)
        dock.status.say(
            "The weights of 'vit_b' are not on this machine and could not be downloaded; put sam_vit_b_01ec64.pth "
            "into /home/somebody/.cache/napari-sampath/weights, or choose a file of your own."
        )
        docks.append(dock)
    for theme in ("dark", "light"):
        window.viewer.theme = theme
        for dock in docks:
            dock.parentWidget().raise_()
            window.driver.settle()
            assert_nothing_cut_off(window.viewer, dock)


def test_wrapped_texts_do_not_squeeze_other_controls(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    dock, table = Dock(window.viewer, window.state), TextTable()
    table.show_rows([(None, (f"class {number}", "12 kpx")) for number in range(8)])
    dock.fill(
        table,
        *(controls.label("A sentence that is much wider than a dock. " * 8, wrap=True) for _ in range(12)),
    )
    window.viewer.window.add_dock_widget(dock, name="Long", area="right", tabify=True)
    dock.parentWidget().raise_()
    window.driver.settle()
    assert dock.verticalScrollBar().maximum() > 0
    for text in dock.findChildren(QLabel):
        assert text.height() >= text.fontMetrics().height(), text.text()


def test_the_check_finds_a_label_that_is_cut_off(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    wide = QLabel("much too long a line for a dock " * 4)
    wide.setMinimumWidth(20)
    wide.setMaximumWidth(60)
    window.dock.column.insertWidget(0, wide)
    window.driver.settle()
    with pytest.raises(AssertionError):
        assert_nothing_cut_off(window.viewer, window.dock)


def test_text_has_enough_contrast(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    labels = window.dock.candidate, window.dock.status.message
    for theme, label in product(("dark", "light"), labels):
        window.viewer.theme = theme
        window.driver.settle()
        image = label.grab().toImage()
        values = [
            image.pixelColor(x, y).lightnessF() for x in range(image.width()) for y in range(image.height())
        ]
        assert label.text()
        assert max(values) - min(values) > 0.4, (
            theme,
            label.text(),
            label.palette().color(QPalette.ColorRole.Text),
        )


def test_tooltips_name_the_keys_of_the_user(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    keys = keys_file()
    keys.parent.mkdir(parents=True, exist_ok=True)
    keys.write_text('{"commit": "F6", "toggle_preview": "F7"}')
    try:
        window = open_window(tissue, DiscModel())
    finally:
        keys.unlink()
    assert (
        window.dock.buttons["commit"].toolTip() == "Add the candidate as an object of the selected class (F6)"
    )
    assert window.dock.modes.preview.toolTip().endswith("(F7)")
    assert window.dock.buttons["undo"].toolTip().endswith("(Ctrl-Z)")
    assert window.dock.buttons["next_candidate"].toolTip().endswith("smaller part (M)")
