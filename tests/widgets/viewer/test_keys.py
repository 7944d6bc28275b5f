"""Every key, pressed on the canvas, does what the list of keys says, whatever layer is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_sampath.widgets.viewer.keys import KEYS, KeyMap
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

QT = {"Enter": Qt.Key.Key_Return, "Escape": Qt.Key.Key_Escape, "Backspace": Qt.Key.Key_Backspace}
MODIFIERS = {"Shift": Qt.KeyboardModifier.ShiftModifier, "Control": Qt.KeyboardModifier.ControlModifier}


class Told:
    """Takes any call and remembers it."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.path = ""

    def __getattr__(self, name: str) -> Any:
        if name == "tools":
            part = Told()
            part.calls, part.path = self.calls, "tools."
            return part
        return lambda *arguments: self.calls.append((self.path + name, *arguments))


def press(driver: Any, key: str) -> None:
    """Press a key in napari's notation."""
    *held, letter = key.split("-")
    modifiers = Qt.KeyboardModifier.NoModifier
    for one in held:
        modifiers |= MODIFIERS[one]
    driver.key(QT.get(letter) or getattr(Qt.Key, f"Key_{letter}"), modifiers)


def test_each_key_reaches_what_it_is_for_on_every_layer(viewer: Any) -> None:
    from types import SimpleNamespace

    from benchmarks.gui_driver import GuiDriver

    image = viewer.add_image(np.zeros((60, 80, 3), np.uint8))
    classes = viewer.add_labels(np.zeros((60, 80), np.uint8))
    other = viewer.add_points(np.zeros((0, 2)))
    driver, told = GuiDriver(viewer, image), Told()
    driver.settle()
    bound = [one for one in KEYS if not one.dock]
    keys = KeyMap(viewer, [image, classes], told, SimpleNamespace(held=False))
    try:
        for layer, mode in (
            (image, "pan_zoom"),
            (classes, "pan_zoom"),
            (classes, "paint"),
            (classes, "erase"),
        ):
            viewer.layers.selection.active = layer
            layer.mode = mode
            for one in bound:
                told.calls.clear()
                press(driver, one.key)
                assert told.calls == [(one.method, *one.arguments)], (one.key, layer.name, mode)
                assert str(layer.mode) == mode
        # A layer of the user's own keeps its keys: 3 chooses the arrow of a points layer.
        viewer.layers.selection.active = other
        told.calls.clear()
        press(driver, "3")
        assert not told.calls
        assert str(other.mode) == "select"
        press(driver, "W")
        assert told.calls == [("commit", "overwrite")]
    finally:
        keys.close()
    viewer.layers.selection.active = image
    told.calls.clear()
    for one in bound:
        press(driver, one.key)
    assert not told.calls, "given back"


def test_number_keys_choose_the_class_while_a_brush_is_in_use(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    while len(window.session.classes) < 9:
        window.session.classes.add(f"class {len(window.session.classes) + 1}")
    ids = [info.id for info in window.session.classes]
    for mode in ("point", "brush", "erase"):
        window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)(mode)])
        for number in (9, 5, 4, 1, 7, 8, 2, 6, 3):
            press(window.driver, str(number))
            assert window.session.active_class == ids[number - 1], (mode, number)
            assert window.annotator.mode == mode
            assert window.layers.classes.selected_label == ids[number - 1]
