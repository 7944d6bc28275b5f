"""Object tools by key and by click, the question about overlaps, the sheet of keys: real events in, pixels out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import CTRL, NONE, SHIFT
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from scipy.ndimage import distance_transform_edt

from napari_sampath.widgets.viewer.keys import KEYS
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

RING, PAIR, BAR = 1, 2, 3
"""Objects of `drawn`: a square with a hole and a spike, two squares, a bar."""


@pytest.fixture
def drawn(open_bench: Callable[..., Any], tissue: np.ndarray) -> Any:
    """An image with three objects of the first of two classes."""
    b = open_bench(tissue, DiscModel())
    b.session.classes.rename(1, "gland")
    b.session.classes.add("stroma")
    ring = np.zeros((120, 160), bool)
    ring[20:50, 20:50] = True
    ring[30:36, 30:36] = False
    ring[35, 50:56] = True
    pair = np.zeros_like(ring)
    pair[70:80, 20:30] = pair[70:80, 40:50] = True
    bar = np.zeros_like(ring)
    bar[80:90, 80:140] = True
    for mask in (ring, pair, bar):
        b.session.paint(*np.nonzero(mask), 1)
    assert set(b.session.document.objects) == {RING, PAIR, BAR}
    return b


def hover(b: Any, x: float, y: float) -> None:
    b.driver._move(b.driver.at(x, y), Qt.MouseButton.NoButton, NONE)


def press(b: Any, name: str) -> None:
    """Press the key of an action, as the map of keys has it."""
    *modifiers, key = next(one.key for one in KEYS if one.name == name).split("-")
    held = {"Shift": SHIFT, "Control": CTRL}
    flags = NONE
    for one in modifiers:
        flags |= held[one]
    b.driver.key(getattr(Qt.Key, {"Enter": "Key_Return"}.get(key, f"Key_{key}")), flags)


def area(b: Any, object_id: int) -> int:
    """Pixels of an object on the layer."""
    return int((b.layers.objects.data == object_id).sum())


def count(b: Any) -> int:
    return len(np.unique(b.layers.objects.data)) - 1


def test_every_key_of_an_object_tool(drawn: Any) -> None:
    b = drawn
    original = b.layers.objects.data.copy()
    press(b, "choose_class_2")

    def grows() -> None:
        near = distance_transform_edt(original != BAR) <= 2
        assert np.array_equal(b.layers.objects.data == BAR, near & np.isin(original, (0, BAR)))

    def ticked(flag: str) -> Callable[[], None]:
        def check() -> None:
            assert getattr(b.session.document.objects[BAR], flag)
            assert f"gland {BAR} is {flag}" in b.text

        return check

    def is_(condition: Callable[[], bool]) -> Callable[[], None]:
        def check() -> None:
            assert condition()

        return check

    expected: dict[str, tuple[tuple[float, float], Callable[[], None]]] = {
        "reclassify": ((25, 25), is_(lambda: bool((b.layers.classes.data[original == RING] == 2).all()))),
        "delete": ((25, 25), is_(lambda: area(b, RING) == 0)),
        "grow": ((100, 85), grows),
        "shrink": ((100, 85), is_(lambda: area(b, BAR) == 56 * 6)),
        "fill_holes": ((25, 25), is_(lambda: area(b, RING) == 30 * 30 + 6)),
        "smooth": ((25, 25), is_(lambda: b.layers.objects.data[35, 55] == 0 and area(b, RING) > 800)),
        "split": ((25, 75), is_(lambda: count(b) == 4 and area(b, PAIR) == 100)),
        "reviewed": ((100, 85), ticked("reviewed")),
        "unsure": ((100, 85), ticked("unsure")),
    }
    two_presses = {"merge"}
    assert {one.name for one in KEYS if one.method == "tools.use"} == set(expected) | two_presses
    for name, (place, check) in expected.items():
        hover(b, *place)
        press(b, name)
        check()
        press(b, "undo")
        assert np.array_equal(b.layers.objects.data, original), name
        assert np.array_equal(b.layers.classes.data > 0, original > 0), name
        assert not any(one.reviewed or one.unsure for one in b.session.document.objects.values()), name
    for name in sorted({*expected, *two_presses}):
        hover(b, 5, 5)
        press(b, name)
        if name != "split":
            assert "no object here" in b.text, name
        press(b, "clear")
    assert np.array_equal(b.layers.objects.data, original)


def test_join_takes_two_presses_and_esc_leaves_both(drawn: Any) -> None:
    b = drawn
    hover(b, 25, 25)
    press(b, "merge")
    assert b.annotator.tools.highlight.frames == 1
    press(b, "clear")
    assert b.annotator.tools.highlight.frames == 0
    hover(b, 100, 85)
    press(b, "merge")
    hover(b, 5, 5)
    press(b, "merge")
    assert "another object" in b.text
    hover(b, 25, 25)
    press(b, "merge")
    assert area(b, RING) == 0
    assert b.layers.objects.data[25, 25] == BAR
    assert b.layers.objects.data[85, 100] == BAR
    press(b, "undo")
    assert area(b, RING) > 0


def test_divide_takes_two_presses_and_draws_the_cut(drawn: Any) -> None:
    b = drawn
    hover(b, 110, 70)
    press(b, "split")
    hover(b, 110, 88)
    line = b.viewer.layers["Chosen"].data[0]
    np.testing.assert_allclose(line, [[70, 110], [88, 110]], atol=1)
    press(b, "split")
    assert "Chosen" in b.viewer.layers
    assert b.annotator.tools.highlight.frames == 0
    left, right = b.layers.objects.data[85, 85], b.layers.objects.data[85, 135]
    assert left != right
    assert left != 0 != right
    assert area(b, int(left)) + area(b, int(right)) == 600
    assert abs(area(b, int(left)) - 300) <= 10
    hover(b, 5, 5)
    press(b, "split")
    hover(b, 10, 10)
    press(b, "split")
    assert "crosses no object" in b.text


def test_tools_of_the_dock_act_where_one_clicks_until_they_are_let_go(drawn: Any) -> None:
    from napari_sampath.widgets.viewer.mouse import Mode
    from napari_sampath.widgets.viewer.two_point_tools import Tool

    b = drawn
    buttons = b.dock.tools.buttons
    b.driver.press(buttons[Tool.DELETE])
    b.driver.click(25, 25)
    assert area(b, RING) == 0
    b.driver.click(100, 85)
    assert area(b, BAR) == 0
    assert b.session.prompts.empty, "a click with a tool is no prompt"
    press(b, "undo")
    press(b, "undo")
    centre = b.viewer.scene.camera.center
    b.driver.press(buttons[Tool.SPLIT])
    assert not buttons[Tool.DELETE].isChecked()
    b.driver.drag([(110, 70), (110, 100)])
    assert count(b) == 4
    assert b.viewer.scene.camera.center == centre, "the drag was a cut"
    b.driver.press(buttons[Tool.MERGE])
    b.driver.drag([(85, 85), (135, 85)])
    assert area(b, BAR) == 600
    b.driver.press(buttons[Tool.GROW])
    b.dock.tools.reach.setValue(5)
    b.driver.click(100, 85)
    assert b.layers.objects.data[85, 75] == BAR
    press(b, "clear")
    assert not any(button.isChecked() for button in buttons.values())
    assert b.annotator.mode is Mode.POINT
    b.driver.click(115, 40)
    assert len(b.session.prompts.points) == 1
    b.driver.press(buttons[Tool.DELETE])
    b.driver.press(b.dock.modes.buttons[Mode.BOX])
    assert not buttons[Tool.DELETE].isChecked()
    assert b.annotator.mode is Mode.BOX


@pytest.mark.parametrize("way", ["key", "button"])
def test_a_mask_on_others_is_asked_about(drawn: Any, way: str) -> None:
    b = drawn
    b.driver.press(b.dock.modes.buttons[type(b.annotator.mode)("point")])
    b.dock.rules.overlap.setCurrentIndex(b.dock.rules.overlap.findData("ask"))
    b.dock.rules.overlap.activated.emit(b.dock.rules.overlap.currentIndex())
    assert b.session.overlap == "ask"
    before = b.layers.objects.data.copy()
    b.driver.click(115, 70)
    b.answered()
    candidate = b.layers.candidate.data == 1
    under = int((candidate & (before == BAR)).sum())
    assert 0 < under < 600
    press(b, "commit")
    assert b.dock.question.isVisible()
    assert f"gland {BAR} ({under:,} px)" in b.dock.question.text.text()
    overwrite, keep, cancel = b.dock.question.buttons
    press(b, "clear") if way == "key" else b.driver.press(cancel)
    assert not b.dock.question.isVisible()
    assert np.array_equal(b.layers.candidate.data == 1, candidate), "the mask waits"
    press(b, "commit")
    overwrite, keep, cancel = b.dock.question.buttons
    press(b, "commit_keep") if way == "key" else b.driver.press(keep)
    assert not b.dock.question.isVisible()
    assert area(b, BAR) == 600
    assert area(b, 4) == candidate.sum() - under
    press(b, "undo")
    b.driver.click(115, 70)
    b.answered()
    under = int(((b.layers.candidate.data == 1) & (before == BAR)).sum())
    press(b, "commit")
    overwrite, keep, cancel = b.dock.question.buttons
    press(b, "commit_overwrite") if way == "key" else b.driver.press(overwrite)
    assert area(b, BAR) == 600 - under
    b.driver.click(115, 70)
    b.answered()
    press(b, "commit")
    assert b.dock.question.isVisible()
    b.driver.click(118, 70)
    assert not b.dock.question.isVisible(), "going on with the prompt is an answer too"


def test_regions_grow_together_and_another_image_keeps_the_rules(drawn: Any, tissue: np.ndarray) -> None:
    from benchmarks.gui_driver import wait_until

    b = drawn
    for combo, value in ((b.dock.rules.mode, "semantic"), (b.dock.rules.overlap, "keep")):
        combo.setCurrentIndex(combo.findData(value))
        combo.activated.emit(combo.currentIndex())
    press(b, "choose_class_1")
    b.driver.click(115, 70)
    b.answered()
    press(b, "commit")
    assert set(np.unique(b.layers.objects.data)) == {0, RING, PAIR, BAR}, "it joined the bar"
    assert area(b, BAR) > 1000
    other = b.viewer.add_image(255 - tissue, name="other")
    b.bench.choose_image(other)
    wait_until(lambda: b.bench.ready, 30, "the other image")
    assert (b.session.mask_mode, b.session.overlap) == ("semantic", "keep")
    assert b.dock.rules.value() == ("semantic", "keep")


def test_the_sheet_of_keys_comes_and_goes_and_lists_every_key(drawn: Any) -> None:
    b = drawn
    press(b, "show_help")
    sheet = b.dock.help
    assert sheet.isVisible()
    assert {key for key, _ in sheet.lines} >= {one.shown for one in KEYS if one.shown}
    canvas = b.driver.native
    corner = sheet.mapTo(b.viewer.window._qt_window, sheet.rect().topLeft())
    place = canvas.mapTo(b.viewer.window._qt_window, canvas.rect().topLeft())
    assert corner.x() >= place.x(), "it lies over the canvas"
    assert sheet.table.width() >= sheet.table.sizeHint().width()
    assert sheet.table.height() >= sheet.table.sizeHint().height()
    press(b, "show_help")
    assert not sheet.isVisible()
    b.driver.press(b.dock.help_button)
    assert sheet.isVisible()
    QTest.mouseClick(sheet, Qt.MouseButton.LeftButton)
    assert not sheet.isVisible()


def test_keys_of_the_user_are_bound_and_a_clash_is_told(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    from napari_sampath.widgets.viewer.key_settings import keys_file

    keys_file().parent.mkdir(parents=True, exist_ok=True)
    keys_file().write_text('{"delete": "F2", "smooth": "G"}')
    b = open_bench(tissue, DiscModel())
    b.session.paint(*np.nonzero(np.pad(np.ones((20, 20), bool), ((10, 90), (10, 130)))), 1)
    hover(b, 20, 20)
    b.driver.key(Qt.Key.Key_Delete)
    assert area(b, 1) == 400
    b.driver.key(Qt.Key.Key_F2)
    assert area(b, 1) == 0
    press(b, "show_help")
    assert ("F2", "delete it") in b.dock.help.lines
    assert "G is the key for 'grow' too, so 'smooth its outline' stays on S" in b.dock.help.note.text()
