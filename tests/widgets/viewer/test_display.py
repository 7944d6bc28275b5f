"""How objects are drawn: outlines in class colours, marks for reviews, keys for fill, hiding and one class only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QLineEdit,
)

from napari_sampath.annotations.model.classes import PALETTE
from napari_sampath.arrays import LocalMask
from napari_sampath.session.proposals.new_objects import NewObject, NewObjects
from napari_sampath.widgets.canvas.napari_internals.partial_refresh import outlines
from napari_sampath.widgets.viewer.keys import KEYS
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui


def drawn_colors(layer: Any) -> np.ndarray:
    """Return the colours (H, W, 4), each 0..1, in which napari draws a label layer."""
    texture = layer._slice.image.view
    colors = np.zeros((*texture.shape, 4))
    for value, color in layer.colormap.color_dict.items():
        if value is not None:
            (index,) = layer.colormap._data_to_texture(np.array([value], layer.data.dtype))
            colors[texture == index] = color
    return colors


def solid(session: Any, object_id: int) -> np.ndarray:
    ids = np.asarray(session.document.instance_map)
    return outlines(ids) & (ids == object_id)


def rgb(number: int) -> np.ndarray:
    return np.array(PALETTE[number]) / 255


@pytest.fixture
def two_classes(open_window: Callable[..., Any], tissue: np.ndarray) -> Any:
    """A window with an object of each of two classes, the second selected."""
    window = open_window(tissue, DiscModel())
    window.session.classes.add("stroma")
    for number, x in enumerate((50, 115)):
        window.driver.key(Qt.Key(Qt.Key.Key_1.value + number))
        window.driver.click(x, 60)
        window.answered()
        window.driver.key(Qt.Key.Key_Return)
    return window


def test_outlines_have_the_colour_of_the_class_and_follow_it(two_classes: Any) -> None:
    window = two_classes
    for number in (0, 1):
        edge = solid(window.session, number + 1)
        colors = drawn_colors(window.layers.objects)[edge]
        np.testing.assert_allclose(
            colors[:, :3], np.broadcast_to(rgb(number), colors[:, :3].shape), atol=0.01
        )
        assert (colors[:, 3] == 1).all()
    window.session.objects.reclassify((1,), 2)
    colors = drawn_colors(window.layers.objects)[solid(window.session, 1)]
    np.testing.assert_allclose(colors[:, :3], np.broadcast_to(rgb(1), colors[:, :3].shape), atol=0.01)
    assert 0 < window.layers.classes.opacity < 0.3, "outlines first; the fill is faint"


def test_the_candidate_has_the_colour_of_its_class(two_classes: Any) -> None:
    window = two_classes
    for number in (0, 1):
        window.driver.key(Qt.Key(Qt.Key.Key_1.value + number))
        color = window.layers.candidate.colormap.color_dict[1]
        np.testing.assert_allclose(np.asarray(color)[:3], rgb(number), atol=0.01)


def test_review_marks_are_visible(two_classes: Any) -> None:
    window = two_classes
    mask = LocalMask(5, 5, np.ones((30, 30), bool))
    window.session.proposals.replace(
        NewObjects((NewObject(1, mask, 0.9),), window.session.classes.snapshot, "head", (0, 0, 120, 160))
    ).apply()
    proposal = max(window.session.document.objects)
    share = {}
    for state in ("proposal", "reviewed", "unsure"):
        if state != "proposal":
            window.session.objects.flag((proposal,), state)
        edge = solid(window.session, proposal)
        share[state] = float((drawn_colors(window.layers.objects)[edge][:, 3] > 0).mean())
    assert share["reviewed"] == 1
    assert 0.3 < share["unsure"] < 0.7
    assert 0.4 < share["proposal"] < 0.8


def test_keys_for_fill_hiding_and_one_class(two_classes: Any) -> None:
    window = two_classes
    layers, driver = window.layers, window.driver
    fill = layers.classes.opacity
    driver.key(Qt.Key.Key_I, Qt.KeyboardModifier.ShiftModifier)
    assert layers.classes.opacity == 0
    assert window.dock.modes.fill.value() == 0
    driver.key(Qt.Key.Key_I, Qt.KeyboardModifier.ShiftModifier)
    assert layers.classes.opacity == fill
    window.dock.modes.fill.setValue(60)
    assert layers.classes.opacity == pytest.approx(0.6)
    driver.key(Qt.Key.Key_I)
    assert not layers.objects.visible
    assert not layers.classes.visible
    driver.key(Qt.Key.Key_I)
    assert layers.objects.visible
    driver.key(Qt.Key.Key_O)
    colors = drawn_colors(layers.objects)
    assert (colors[solid(window.session, 1)][:, 3] == 0).all()
    assert (colors[solid(window.session, 2)][:, 3] == 1).all()
    driver.key(Qt.Key.Key_O)
    assert (drawn_colors(layers.objects)[solid(window.session, 1)][:, 3] == 1).all()


def test_tools_of_the_mouse_have_keys(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    keys = {key.arguments[0]: key for key in KEYS if key.method == "choose_mode"}
    assert set(keys) == {mode.value for mode in type(window.annotator.mode)}
    for name, key in keys.items():
        letter = Qt.Key(getattr(Qt.Key, f"Key_{key.key[-1]}"))
        shift = Qt.KeyboardModifier.ShiftModifier if "Shift" in key.key else Qt.KeyboardModifier.NoModifier
        window.driver.key(letter, shift)
        assert window.annotator.mode.value == name
        assert key.shown in window.dock.modes.buttons[window.annotator.mode].toolTip()


def test_the_class_list_counts_objects_and_gives_the_focus_back(two_classes: Any) -> None:
    window = two_classes
    items = [window.dock.classes.list.item(index) for index in range(2)]
    assert [item.data(Qt.ItemDataRole.UserRole + 1) for item in items] == [1, 1]
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert window.dock.classes.list.item(1).data(Qt.ItemDataRole.UserRole + 1) == 0
    window.viewer.window._qt_window.activateWindow()
    window.dock.classes.edit(2)
    editor = window.dock.classes.list.findChild(QLineEdit)
    editor.setText("muscle")
    from qtpy.QtTest import QTest

    QTest.keyClick(editor, Qt.Key.Key_Return)
    wait_until(lambda: window.session.classes.by_id(2).name == "muscle", 60, "the new name")
    wait_until(lambda: QApplication.focusWidget() is window.driver.native, 60, "the focus on the canvas")
    names = window.dock.classes.list
    QTest.mouseClick(
        names.viewport(), Qt.MouseButton.LeftButton, pos=names.visualItemRect(names.item(0)).center()
    )
    assert window.session.active_class == window.session.classes.snapshot[0].id
    assert QApplication.focusWidget() is window.driver.native, "the next key acts on the image"
