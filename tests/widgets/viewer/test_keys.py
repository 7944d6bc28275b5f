"""Every key, pressed on the canvas, calls the action that the key list names, on every active layer."""

from __future__ import annotations

from types import SimpleNamespace
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


class Recorder:
    """Accepts any method call, also on its parts `tools`, `input` and `display`, and records it."""

    def __init__(self, calls: list[tuple[Any, ...]] | None = None, prefix: str = "") -> None:
        self.calls = [] if calls is None else calls
        self.prefix = prefix

    def __getattr__(self, name: str) -> Any:
        if name in ("tools", "input", "display"):
            return Recorder(self.calls, f"{name}.")
        return lambda *arguments: self.calls.append((self.prefix + name, *arguments))


def press(driver: Any, key: str) -> None:
    """Press a key in napari's notation."""
    *held, letter = key.split("-")
    modifiers = Qt.KeyboardModifier.NoModifier
    for name in held:
        modifiers |= MODIFIERS[name]
    driver.key(QT.get(letter) or getattr(Qt.Key, f"Key_{letter}"), modifiers)


def test_each_key_calls_its_action_on_every_layer(viewer: Any) -> None:
    from benchmarks.gui_driver import GuiDriver

    image = viewer.add_image(np.zeros((60, 80, 3), np.uint8))
    classes = viewer.add_labels(np.zeros((60, 80), np.uint8))
    other = viewer.add_points(np.zeros((0, 2)))
    driver, recorder = GuiDriver(viewer, image), Recorder()
    driver.settle()
    bound = [key for key in KEYS if not key.dock]
    keys = KeyMap(viewer, [image, classes], recorder, SimpleNamespace(held=False))
    places = ((image, "pan_zoom"), (classes, "pan_zoom"), (classes, "paint"), (classes, "erase"))
    try:
        for layer, mode in places:
            viewer.layers.selection.active = layer
            layer.mode = mode
            for key in bound:
                recorder.calls.clear()
                press(driver, key.key)
                assert recorder.calls == [(key.method, *key.arguments)], (key.key, layer.name, mode)
                assert str(layer.mode) == mode
        # The user's own layers keep their keys: 3 selects the arrow of a points layer.
        viewer.layers.selection.active = other
        recorder.calls.clear()
        press(driver, "3")
        assert not recorder.calls
        assert str(other.mode) == "select"
        press(driver, "W")
        assert recorder.calls == [("input.commit", "overwrite")]
    finally:
        keys.close()
    viewer.layers.selection.active = image
    recorder.calls.clear()
    for key in bound:
        press(driver, key.key)
    assert not recorder.calls, "keys are still bound after close"


def test_number_keys_choose_the_class_in_brush_modes(
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
