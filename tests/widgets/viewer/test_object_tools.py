"""Object tools by key and by click, the question about overlaps, and the key list, with real events and pixels."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import CTRL, NONE, SHIFT, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from scipy.ndimage import distance_transform_edt

from napari_sampath.widgets.viewer.key_settings import keys_file
from napari_sampath.widgets.viewer.keys import KEYS
from napari_sampath.widgets.viewer.tools.object_tools import Tool
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

RING, PAIR, BAR = 1, 2, 3
"""Objects of `drawn`: a square with a hole and a spike, two squares, a bar."""


@pytest.fixture
def drawn(open_window: Callable[..., Any], tissue: np.ndarray) -> Any:
    """An image with three objects of the first of two classes."""
    window = open_window(tissue, DiscModel())
    window.session.classes.rename(1, "gland")
    window.session.classes.add("stroma")
    ring = np.zeros((120, 160), bool)
    ring[20:50, 20:50] = True
    ring[30:36, 30:36] = False
    ring[35, 50:56] = True
    pair = np.zeros_like(ring)
    pair[70:80, 20:30] = pair[70:80, 40:50] = True
    bar = np.zeros_like(ring)
    bar[80:90, 80:140] = True
    for mask in (ring, pair, bar):
        window.session.paint(*np.nonzero(mask), 1)
    assert set(window.session.document.objects) == {RING, PAIR, BAR}
    return window


def hover(window: Any, x: float, y: float) -> None:
    window.driver._move(window.driver.at(x, y), Qt.MouseButton.NoButton, NONE)


def press(window: Any, name: str) -> None:
    """Press the default key of an action."""
    *modifiers, key = next(key.key for key in KEYS if key.name == name).split("-")
    held = {"Shift": SHIFT, "Control": CTRL}
    flags = NONE
    for modifier in modifiers:
        flags |= held[modifier]
    window.driver.key(getattr(Qt.Key, {"Enter": "Key_Return"}.get(key, f"Key_{key}")), flags)


def area(window: Any, object_id: int) -> int:
    """Return the number of pixels of an object on the layer."""
    return int((window.layers.objects.data == object_id).sum())


def count(window: Any) -> int:
    return len(np.unique(window.layers.objects.data)) - 1


def test_every_key_of_an_object_tool_acts_on_the_object_under_the_mouse(drawn: Any) -> None:
    window = drawn
    original = window.layers.objects.data.copy()
    press(window, "choose_class_2")

    def grows() -> None:
        near = distance_transform_edt(original != BAR) <= 2
        assert np.array_equal(window.layers.objects.data == BAR, near & np.isin(original, (0, BAR)))

    def ticked(flag: str) -> Callable[[], None]:
        def check() -> None:
            assert getattr(window.session.document.objects[BAR], flag)
            assert f"gland {BAR} is {flag}" in window.text

        return check

    def is_(condition: Callable[[], bool]) -> Callable[[], None]:
        def check() -> None:
            assert condition()

        return check

    expected: dict[str, tuple[tuple[float, float], Callable[[], None]]] = {
        "reclassify": (
            (25, 25),
            is_(lambda: bool((window.layers.classes.data[original == RING] == 2).all())),
        ),
        "delete": ((25, 25), is_(lambda: area(window, RING) == 0)),
        "grow": ((100, 85), grows),
        "shrink": ((100, 85), is_(lambda: area(window, BAR) == 56 * 6)),
        "fill_holes": ((25, 25), is_(lambda: area(window, RING) == 30 * 30 + 6)),
        "smooth": (
            (25, 25),
            is_(lambda: window.layers.objects.data[35, 55] == 0 and area(window, RING) > 800),
        ),
        "split": ((25, 75), is_(lambda: count(window) == 4 and area(window, PAIR) == 100)),
        "reviewed": ((100, 85), ticked("reviewed")),
        "unsure": ((100, 85), ticked("unsure")),
    }
    two_presses = {"merge", "measure"}
    assert {key.name for key in KEYS if key.method == "tools.use"} == set(expected) | two_presses
    for name, (place, check) in expected.items():
        hover(window, *place)
        press(window, name)
        check()
        press(window, "undo")
        assert np.array_equal(window.layers.objects.data, original), name
        assert np.array_equal(window.layers.classes.data > 0, original > 0), name
        assert not any(obj.reviewed or obj.unsure for obj in window.session.document.objects.values()), name
    for name in sorted({*expected, *two_presses}):
        hover(window, 5, 5)
        press(window, name)
        if name not in ("split", "measure"):  # These need no object.
            assert "no object here" in window.text, name
        press(window, "clear")
    assert np.array_equal(window.layers.objects.data, original)


def test_merge_takes_two_presses_and_esc_cancels(drawn: Any) -> None:
    window = drawn
    hover(window, 25, 25)
    press(window, "merge")
    assert window.annotator.tools.highlight.frames == 1
    press(window, "clear")
    assert window.annotator.tools.highlight.frames == 0
    hover(window, 100, 85)
    press(window, "merge")
    hover(window, 5, 5)
    press(window, "merge")
    assert "another object" in window.text
    hover(window, 25, 25)
    press(window, "merge")
    assert area(window, RING) == 0
    assert window.layers.objects.data[25, 25] == BAR
    assert window.layers.objects.data[85, 100] == BAR
    press(window, "undo")
    assert area(window, RING) > 0


def test_split_takes_two_presses_and_draws_the_cut(drawn: Any) -> None:
    window = drawn
    hover(window, 110, 70)
    press(window, "split")
    hover(window, 110, 88)
    line = window.viewer.layers["Selection"].data[0]
    np.testing.assert_allclose(line, [[70, 110], [88, 110]], atol=1)
    press(window, "split")
    assert "Selection" in window.viewer.layers
    assert window.annotator.tools.highlight.frames == 0
    left, right = window.layers.objects.data[85, 85], window.layers.objects.data[85, 135]
    assert left != right
    assert left != 0 != right
    assert area(window, int(left)) + area(window, int(right)) == 600
    assert abs(area(window, int(left)) - 300) <= 10
    hover(window, 5, 5)
    press(window, "split")
    hover(window, 10, 10)
    press(window, "split")
    assert "crosses no object" in window.text


def test_an_active_tool_acts_at_each_click_until_it_is_deactivated(drawn: Any) -> None:
    from napari_sampath.widgets.viewer.mouse import Mode

    window = drawn
    buttons = window.dock.tools.buttons
    window.driver.press(buttons[Tool.DELETE])
    window.driver.click(25, 25)
    assert area(window, RING) == 0
    window.driver.click(100, 85)
    assert area(window, BAR) == 0
    assert window.session.prompts.state.empty, "a click with a tool adds no point"
    press(window, "undo")
    press(window, "undo")
    centre = window.viewer.scene.camera.center
    window.driver.press(buttons[Tool.SPLIT])
    assert not buttons[Tool.DELETE].isChecked()
    window.driver.drag([(110, 70), (110, 100)])
    assert count(window) == 4
    assert window.viewer.scene.camera.center == centre, "the drag was a cut"
    window.driver.press(buttons[Tool.MERGE])
    window.driver.drag([(85, 85), (135, 85)])
    assert area(window, BAR) == 600
    window.driver.press(buttons[Tool.GROW])
    window.dock.tools.reach.setValue(5)
    window.driver.click(100, 85)
    assert window.layers.objects.data[85, 75] == BAR
    press(window, "clear")
    assert not any(button.isChecked() for button in buttons.values())
    assert window.annotator.mode is Mode.POINT
    window.driver.click(115, 40)
    assert len(window.session.prompts.state.points) == 1
    window.driver.press(buttons[Tool.DELETE])
    window.driver.press(window.dock.modes.buttons[Mode.BOX])
    assert not buttons[Tool.DELETE].isChecked()
    assert window.annotator.mode is Mode.BOX


@pytest.mark.parametrize("way", ["key", "button"])
def test_an_overlapping_mask_raises_a_question(drawn: Any, way: str) -> None:
    window = drawn
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("point")])
    window.dock.rules.overlap.setCurrentIndex(window.dock.rules.overlap.findData("ask"))
    window.dock.rules.overlap.activated.emit(window.dock.rules.overlap.currentIndex())
    assert window.session.overlap == "ask"
    before = window.layers.objects.data.copy()
    window.driver.click(115, 70)
    window.answered()
    candidate = window.layers.candidate.data == 1
    under = int((candidate & (before == BAR)).sum())
    assert 0 < under < 600
    press(window, "commit")
    assert window.dock.question.isVisible()
    assert f"gland {BAR} ({under:,} px)" in window.dock.question.text.text()
    overwrite, keep, cancel = window.dock.question.buttons
    press(window, "clear") if way == "key" else window.driver.press(cancel)
    assert not window.dock.question.isVisible()
    assert np.array_equal(window.layers.candidate.data == 1, candidate), "the candidate stays"
    press(window, "commit")
    overwrite, keep, cancel = window.dock.question.buttons
    press(window, "commit_keep") if way == "key" else window.driver.press(keep)
    assert not window.dock.question.isVisible()
    assert area(window, BAR) == 600
    assert area(window, 4) == candidate.sum() - under
    press(window, "undo")
    window.driver.click(115, 70)
    window.answered()
    under = int(((window.layers.candidate.data == 1) & (before == BAR)).sum())
    press(window, "commit")
    overwrite, keep, cancel = window.dock.question.buttons
    press(window, "commit_overwrite") if way == "key" else window.driver.press(overwrite)
    assert area(window, BAR) == 600 - under
    window.driver.click(115, 70)
    window.answered()
    press(window, "commit")
    assert window.dock.question.isVisible()
    window.driver.click(118, 70)
    assert window.dock.question.isVisible(), "a new point begins another object"
    assert len(window.session.prompts.state.points) == 1
    press(window, "clear")
    assert not window.dock.question.isVisible()


def test_whole_regions_merge_and_the_rules_apply_to_the_next_image(drawn: Any, tissue: np.ndarray) -> None:
    from napari_sampath.widgets.annotate.mask_rules import MaskRules

    window = drawn
    for combo, value in ((window.dock.rules.mode, "semantic"), (window.dock.rules.overlap, "keep")):
        combo.setCurrentIndex(combo.findData(value))
        combo.activated.emit(combo.currentIndex())
    press(window, "choose_class_1")
    window.driver.click(115, 70)
    window.answered()
    press(window, "commit")
    assert set(np.unique(window.layers.objects.data)) == {0, RING, PAIR, BAR}, "it merged with the bar"
    assert area(window, BAR) > 1000
    other = window.viewer.add_image(255 - tissue, name="other")
    window.state.choose_image(other)
    wait_until(lambda: window.state.ready, 60, "the other image")
    assert (window.session.mask_mode, window.session.overlap) == ("semantic", "keep")
    assert window.dock.rules.value() == MaskRules("semantic", "keep")


def test_the_key_list_opens_closes_and_lists_every_key(drawn: Any) -> None:
    window = drawn
    press(window, "show_help")
    key_list = window.dock.help
    assert key_list.isVisible()
    assert {key for key, _ in key_list.lines} >= {key.shown for key in KEYS if key.shown}
    canvas = window.driver.native
    corner = key_list.mapTo(window.viewer.window._qt_window, key_list.rect().topLeft())
    place = canvas.mapTo(window.viewer.window._qt_window, canvas.rect().topLeft())
    assert corner.x() >= place.x(), "it covers the canvas"
    assert key_list.table.horizontalScrollBar().maximum() == 0
    key_list.search.setText("smooth")
    rows = range(key_list.table.rowCount())
    shown = [key_list.table.item(row, 1).text() for row in rows if not key_list.table.isRowHidden(row)]
    assert shown == ["smooth outline"]
    press(window, "show_help")
    assert not key_list.isVisible()
    window.driver.press(window.dock.help_button)
    assert key_list.isVisible()
    QTest.mouseClick(key_list, Qt.MouseButton.LeftButton)
    assert not key_list.isVisible()


def test_a_key_is_changed_in_the_key_list(drawn: Any) -> None:
    window = drawn
    press(window, "show_help")
    key_list = window.dock.help
    names = {key_list.table.item(row, 1).text(): row for row in range(key_list.table.rowCount())}
    for key, problem in ((Qt.Key.Key_G, "G is also the key of 'grow'"), (Qt.Key.Key_F4, "")):
        key_list.table.setCurrentCell(names["delete"], 0)
        window.driver.press(key_list.edit_button)
        assert "Press the new key for 'delete'" in key_list.note.text()
        QTest.keyClick(key_list.key_edit, key)
        wait_until(lambda: not key_list.key_edit.isVisible(), 60, "the key to be taken")
        assert problem in key_list.note.text()
        QApplication.processEvents()
    assert ("F4", "delete") in key_list.lines
    assert json.loads(keys_file().read_text()) == {"delete": "F4"}
    window.driver.press(key_list.close_button)
    assert not key_list.isVisible()
    hover(window, 115, 85)
    before = len(window.session.document.objects)
    window.driver.key(Qt.Key.Key_Delete)
    assert len(window.session.document.objects) == before
    window.driver.key(Qt.Key.Key_F4)
    assert len(window.session.document.objects) == before - 1
    assert "(F4 with the mouse on the object)" in window.dock.tools.buttons[Tool.DELETE].toolTip()


def test_user_defined_keys_are_bound_and_a_clash_is_reported(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    keys_file().parent.mkdir(parents=True, exist_ok=True)
    keys_file().write_text('{"delete": "F2", "smooth": "G"}')
    window = open_window(tissue, DiscModel())
    window.session.paint(*np.nonzero(np.pad(np.ones((20, 20), bool), ((10, 90), (10, 130)))), 1)
    hover(window, 20, 20)
    window.driver.key(Qt.Key.Key_Delete)
    assert area(window, 1) == 400
    window.driver.key(Qt.Key.Key_F2)
    assert area(window, 1) == 0
    press(window, "show_help")
    assert ("F2", "delete") in window.dock.help.lines
    assert "G is also the key of 'grow', so 'smooth outline' stays on S" in window.dock.help.note.text()
