"""Clicks and Enter that are faster than the model: each prompt becomes one object, in order, and none is lost."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_sampath.config import load_config
from napari_sampath.errors import PromptError
from napari_sampath.session import Session
from napari_sampath.widgets.viewer.prompt_input import ordinal
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

FULL = bool(os.environ.get("SAMPATH_FULL_ROBOT"))
"""Whether the robot clicks 100 nuclei at 0.25 s each on answers that take 1 s, which takes two minutes."""
SPACING_PX, RADIUS_PX = 50, 20
CTRL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def nuclei(rows: int, cols: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Return an image with discs and their centres (x, y), row by row."""
    image = np.full((rows * SPACING_PX, cols * SPACING_PX, 3), (240, 215, 230), np.uint8)
    image += np.random.default_rng(rows).integers(0, 12, image.shape, dtype=np.uint8)
    centres = [
        (SPACING_PX // 2 + SPACING_PX * col, SPACING_PX // 2 + SPACING_PX * row)
        for row in range(rows)
        for col in range(cols)
    ]
    grid_rows, grid_cols = np.mgrid[: image.shape[0], : image.shape[1]]
    for x, y in centres:
        image[(grid_rows - y) ** 2 + (grid_cols - x) ** 2 <= RADIUS_PX**2] = (110, 60, 140)
    return image, centres


def finished(window: Any) -> None:
    """Wait until every commit is carried out."""
    wait_until(lambda: not len(window.session.waiting), 300, "the waiting commits")
    window.answered()


def right(session: Session, centres: list[tuple[int, int]]) -> int:
    """Count the centres whose object contains one disc and has the number of the click."""
    count = 0
    for number, (x, y) in enumerate(centres, start=1):
        obj = session.document.objects.get(session.document.object_at(y, x))
        area = np.pi * RADIUS_PX**2
        count += obj is not None and obj.id == number and 0.85 * area < obj.area_px < 1.15 * area
    return count


@pytest.mark.timeout(400)
@pytest.mark.parametrize("way", ["enter", "one click"])
def test_a_robot_that_is_faster_than_the_model(open_window: Callable[..., Any], way: str) -> None:
    image, centres = nuclei(10, 10) if FULL else nuclei(4, 5)
    model = DiscModel()
    window = open_window(image, model)
    if FULL:
        model.decode_s = 1.0
    else:
        model.go_on.clear()
    if way == "one click":
        window.driver.press(window.dock.modes.one_click)
    for x, y in centres:
        begin = time.monotonic()
        window.driver.click(x, y)
        if way == "enter":
            window.driver.key(Qt.Key.Key_Return)
        while time.monotonic() - begin < (0.25 if FULL else 0):
            QApplication.processEvents()
            time.sleep(0.005)
    assert len(window.session.document.objects) < len(centres), "the robot is faster than the model"
    model.go_on.set()
    finished(window)
    assert right(window.session, centres) == len(window.session.document.objects) == len(centres)
    assert window.text == f"object, {ordinal(len(centres))} object, saved."
    assert not len(window.layers.prompts.data)
    assert not window.layers.candidate.data.any()
    assert np.array_equal(window.layers.objects.data, np.asarray(window.session.document.instance_map))
    if way == "one click":
        window.driver.key(Qt.Key.Key_Backspace)
        assert len(window.session.document.objects) == len(centres) - 1


def test_every_prompt_keeps_its_class_its_points_and_its_candidate(open_window: Callable[..., Any]) -> None:
    image, centres = nuclei(3, 4)
    window = open_window(image, DiscModel())
    for name in ("stroma", "gland"):
        window.session.classes.add(name)
    driver, model = window.driver, window.model
    model.go_on.clear()
    for number, (x, y) in enumerate(centres[:9]):
        driver.key(Qt.Key(Qt.Key.Key_1.value + number % 3))
        match number % 3:
            case 0:
                driver.click(x, y)
                driver.click(x + 12, y, Qt.MouseButton.RightButton)
            case 1:
                driver.drag([(x - 20, y - 14), (x + 20, y + 14)])
            case 2:
                driver.click(x, y)
                driver.key(Qt.Key.Key_M)
        driver.key(Qt.Key.Key_Return)
    driver.click(*centres[9])
    driver.key(Qt.Key.Key_Escape)
    driver.click(*centres[10])
    driver.click(centres[10][0] + 4, centres[10][1])
    driver.key(Qt.Key.Key_Backspace)
    driver.key(Qt.Key.Key_Return)
    driver.click(*centres[11])
    driver.key(Qt.Key.Key_Return)
    driver.key(Qt.Key.Key_Z, CTRL)
    assert len(window.session.waiting) == 10
    shown = {tuple(point) for point in np.round(window.layers.prompts.data[:, ::-1]).tolist()}
    assert (float(centres[0][0]), float(centres[0][1])) in shown, "waiting prompts stay visible"
    model.go_on.set()
    finished(window)
    document = window.session.document
    assert len(document.objects) == 10
    for number, (x, y) in enumerate(centres[:9]):
        obj = document.objects[number + 1]
        assert document.object_at(y, x) == obj.id
        assert obj.class_id == 1 + number % 3
        match number % 3:
            case 0:
                assert document.object_at(y, x + 12) == 0, "the right-click counts"
                assert [*obj.prompts["labels"]] == [1, 0]
            case 1:
                assert obj.source == "box"
            case 2:
                assert obj.area_px == pytest.approx(np.pi * 12**2, rel=0.1), "the second candidate"
    assert document.objects[10].prompts["points"] == [[pytest.approx(v, abs=1) for v in centres[10]]]
    driver.key(Qt.Key.Key_Z, CTRL | SHIFT)
    finished(window)
    assert document.object_at(centres[11][1], centres[11][0]) == 11, "redo commits it after all"


def test_commits_land_in_the_image_in_which_they_were_made(open_window: Callable[..., Any]) -> None:
    image, centres = nuclei(2, 3)
    window = open_window(image, DiscModel())
    first = window.session
    second_layer = window.viewer.add_image(np.ascontiguousarray(image[::-1, ::-1] // 2), name="second")
    window.state.choose_image(second_layer)
    wait_until(lambda: window.state.ready and window.state.image is second_layer, 60, "the second image")
    window.state.choose_image(window.image)
    wait_until(lambda: window.state.ready, 60, "the first image")
    second_layer.visible = False
    window.model.go_on.clear()
    for x, y in centres[:3]:
        window.driver.click(x, y)
        window.driver.key(Qt.Key.Key_Return)
    second_layer.visible = True
    window.state.choose_image(second_layer)
    for x, y in centres[3:]:
        window.driver.click(x, y)
        window.driver.key(Qt.Key.Key_Return)
    second = window.session
    assert second is not first
    assert (len(first.waiting), len(second.waiting)) == (3, 3)
    window.model.go_on.set()
    finished(window)
    wait_until(lambda: not len(first.waiting), 60, "the commits of the first image")
    for session, spots in ((first, centres[:3]), (second, centres[3:])):
        assert len(session.document.objects) == 3
        assert all(session.document.object_at(y, x) for x, y in spots)


def test_closing_the_dock_carries_out_the_waiting_commits(
    open_window: Callable[..., Any], viewers: Callable[[], Any]
) -> None:
    image, centres = nuclei(1, 3)
    window = open_window(image, DiscModel())
    window.model.decode_s = 0.2
    for x, y in centres:
        window.driver.click(x, y)
        window.driver.key(Qt.Key.Key_Return)
    window.viewer.window.remove_dock_widget(window.dock.parent())
    wait_until(lambda: window.state.annotator is None, 60, "the dock to close")
    (journal,) = load_config().sessions_dir.glob("*.jsonl")
    again = Session(image, "tissue", None, (), journal)
    assert right(again, centres) == 3
    again.close()


def test_clicks_before_the_model_is_loaded_are_committed_too(open_window: Callable[..., Any]) -> None:
    image, centres = nuclei(1, 3)
    model = DiscModel()
    model.go_on.clear()
    window = open_window(image, model, ready=False)
    wait_until(lambda: window.state.annotator is not None, 60, "the session")
    for x, y in centres:
        window.driver.click(x, y)
        window.driver.key(Qt.Key.Key_Return)
    model.go_on.set()
    finished(window)
    assert right(window.session, centres) == 3


def test_a_failed_mask_does_not_stop_the_commits_behind_it(open_window: Callable[..., Any]) -> None:
    image, centres = nuclei(1, 3)
    window = open_window(image, DiscModel())
    decode = window.model.decode

    def fails_for_the_first(features: Any, prompts: Any, multimask: bool = True) -> Any:
        if abs(prompts.points_xy[0][0] - centres[0][0]) < 5:
            raise PromptError("There is no memory left.")
        return decode(features, prompts, multimask)

    window.model.go_on.clear()
    window.driver.click(*centres[1])
    window.model.decode = fails_for_the_first
    window.driver.key(Qt.Key.Key_Return)
    for x, y in (centres[0], centres[2]):
        window.driver.click(x, y)
        window.driver.key(Qt.Key.Key_Return)
    messages: list[str] = []
    window.state.message.connect(messages.append)
    window.model.go_on.set()
    finished(window)
    assert len(window.session.document.objects) == 2
    assert any("no memory left" in message for message in messages)
    assert len(window.session.prompts.state.points) == 1, "the prompt is returned"


def test_an_overlap_question_holds_the_later_commits(open_window: Callable[..., Any]) -> None:
    image, centres = nuclei(1, 4)
    window = open_window(image, DiscModel())
    window.session.overlap = "ask"
    window.model.go_on.clear()
    (x, y), last = centres[1], centres[3]
    for place in ((x, y), (x + 25, y), last):
        window.driver.click(*place)
        window.driver.key(Qt.Key.Key_Return)
    window.model.go_on.set()
    wait_until(lambda: window.dock.question.isVisible(), 60, "the question")
    window.answered()
    assert len(window.session.document.objects) == 1
    assert window.layers.candidate.data[y, x + 40] == 1, "the mask in question is shown"
    window.driver.key(Qt.Key.Key_K)
    finished(window)
    assert not window.dock.question.isVisible()
    assert [window.session.document.object_at(y, col) for col in (x, x + 40, last[0])] == [1, 2, 3]


def test_a_click_with_an_open_question_begins_another_object(open_window: Callable[..., Any]) -> None:
    image, centres = nuclei(1, 4)
    window = open_window(image, DiscModel())
    window.session.overlap = "ask"
    (x, y), last = centres[1], centres[3]
    for place in ((x, y), (x + 25, y), last):
        window.driver.click(*place)
        window.answered()
        window.driver.key(Qt.Key.Key_Return)
    assert window.dock.question.isVisible()
    window.driver.key(Qt.Key.Key_W)
    finished(window)
    document = window.session.document
    assert len(document.objects) == 3
    assert [document.object_at(y, col) for col in (x + 25, last[0])] == [2, 3]


def test_backspace_takes_the_last_back_in_the_mode_for_nuclei(open_window: Callable[..., Any]) -> None:
    image, centres = nuclei(1, 3)
    window = open_window(image, DiscModel())
    window.driver.key(Qt.Key.Key_A, SHIFT)
    assert window.dock.modes.one_click.isChecked()
    window.model.go_on.clear()
    for x, y in centres:
        window.driver.click(x, y)
    window.driver.key(Qt.Key.Key_Backspace)
    window.driver.click(*centres[0])
    window.model.go_on.set()
    finished(window)
    document = window.session.document
    assert len(document.objects) == 2, "the second click on an object adds nothing"
    assert document.object_at(centres[2][1], centres[2][0]) == 0
    window.driver.key(Qt.Key.Key_Backspace)
    assert len(document.objects) == 1
    window.driver.key(Qt.Key.Key_A, SHIFT)
    window.driver.click(*centres[1])
    window.answered()
    assert len(document.objects) == 1, "switched off again"


def test_ordinal_numbers() -> None:
    assert [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 13, 21, 22, 103, 111, 1013)] == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "12th",
        "13th",
        "21st",
        "22nd",
        "103rd",
        "111th",
        "1,013th",
    ]
