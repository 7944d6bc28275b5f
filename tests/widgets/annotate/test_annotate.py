"""The Annotate dock, driven by real mouse and key events and checked by the pixels of layers."""

from __future__ import annotations

import time
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QApplication

from napari_sampath.errors import PromptError
from napari_sampath.widgets.canvas.layer_sync import ANSWER_MS
from napari_sampath.widgets.canvas.napari_internals.label_tools import outline_of
from support.dock_layout import assert_nothing_cut_off
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("small_window")]

QUIET_MS = 400
"""Time in which a window may still paint earlier changes."""


class Painted(QObject):
    """Records the widgets that are painted."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def __enter__(self) -> Painted:
        QApplication.instance().installEventFilter(self)
        return self

    def __exit__(self, *_: object) -> None:
        QApplication.instance().removeEventFilter(self)

    def eventFilter(self, watched: Any, event: QEvent) -> bool:
        if event.type() == QEvent.Type.Paint:
            self.seen.append(watched)
        return False


def wait(milliseconds: int) -> None:
    """Process events for some time."""
    end = time.monotonic() + milliseconds / 1000
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.005)


def painted_nothing() -> bool:
    """Process events for some time, and return whether nothing was painted."""
    with Painted() as painted:
        wait(QUIET_MS)
    return not painted.seen


def disc(hw: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, cols = np.mgrid[: hw[0], : hw[1]]
    return (rows - y) ** 2 + (cols - x) ** 2 <= radius**2


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


def test_click_shows_a_candidate_enter_commits_it_and_undo_removes_it(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    assert window.model.threads == {"sampath-job"}, "encoding runs in a worker"
    window.driver.click(50, 60)
    window.answered()
    prompt = window.model.asked[-1]
    np.testing.assert_allclose(prompt.points_xy, [[50, 60]], atol=0.5)
    assert iou(window.layers.candidate.data == 1, disc((120, 160), 50, 60, 20)) > 0.9
    assert not window.layers.classes.data.any()
    np.testing.assert_allclose(window.layers.prompts.data, [[60, 50]], atol=0.5)
    assert "1 of 3, predicted IoU 0.90" in window.dock.candidate.text()

    painted = window.layers.candidate.data == 1
    window.driver.key(Qt.Key.Key_Return)
    assert np.array_equal(window.layers.classes.data == 1, painted)
    assert np.array_equal(window.layers.objects.data == 1, painted)
    assert not window.layers.candidate.data.any()
    assert len(window.layers.prompts.data) == 0
    (annotation,) = window.session.document.objects.values()
    assert (annotation.source, annotation.model, annotation.class_id) == ("point", "discs", 1)

    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.layers.classes.data.any()
    assert not window.layers.objects.data.any()
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert np.array_equal(window.layers.classes.data == 1, painted)


def test_negative_points(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    button, modifier = Qt.MouseButton, Qt.KeyboardModifier
    ways = {
        "right": (button.RightButton, modifier.NoModifier),
        "alt": (button.LeftButton, modifier.AltModifier),
        "ctrl": (button.LeftButton, modifier.ControlModifier),
    }
    for way, given in ways.items():
        window.driver.click(50, 60)
        window.answered()
        zoom = window.viewer.scene.camera.zoom
        window.driver.click(62, 60, *given)
        window.answered()
        assert [positive for *_, positive in window.session.prompts.state.points] == [True, False], way
        assert window.model.asked[-1].labels.tolist() == [1, 0]
        assert window.model.asked[-1].mask_logits is not None, "the previous answer is refined"
        candidate = window.layers.candidate.data == 1
        assert candidate[60, 45]
        assert not candidate[60, 62]
        colors = np.round(window.layers.prompts.face_color, 2)
        assert colors[0][1] > 0.7 > 0.3 > colors[0][0], "positive is green"
        assert colors[1][0] > 0.7 > 0.3 > colors[1][1], "negative is red"
        assert window.viewer.scene.camera.zoom == zoom
        window.driver.key(Qt.Key.Key_Escape)


@pytest.mark.parametrize("then", ["wait", "key 2", "point", "escape", "mode"])
def test_enter_waits_for_the_answer_to_the_last_click(
    open_window: Callable[..., Any], tissue: np.ndarray, then: str
) -> None:
    """The candidate shown answers the previous click; whatever follows Enter changes nothing about the commit."""
    window = open_window(tissue, DiscModel())
    window.session.classes.add("stroma")
    window.driver.click(50, 60)
    window.answered()
    window.model.go_on.clear()
    window.driver.click(62, 60, Qt.MouseButton.RightButton)
    for _ in range(3):
        window.driver.key(Qt.Key.Key_Return)
    assert not window.session.document.objects
    assert "still being computed" in window.text
    match then:
        case "key 2":
            window.driver.key(Qt.Key.Key_2)
        case "point":
            window.driver.click(40, 60)
        case "escape":
            window.driver.key(Qt.Key.Key_Escape)
        case "mode":
            window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("mask")])
    window.model.go_on.set()
    window.answered()
    assert set(window.session.document.objects) == {1}
    assert window.session.document.objects[1].class_id == 1
    assert window.layers.classes.data[60, 45] == 1
    assert window.layers.classes.data[60, 62] == 0, "the last click counts"
    assert window.text == "object, 1st object, saved."
    assert len(window.session.prompts.state.points) == (then == "point"), (
        "the next click begins another object"
    )


@pytest.mark.parametrize("names", [[], ["objects", "segment", "train", "folder", "export"]])
def test_nothing_is_painted_before_the_answer(
    open_window: Callable[..., Any], tissue: np.ndarray, names: list[str]
) -> None:
    """napari repaints its whole window, which would double the time of the decoder."""
    window = open_window(tissue, DiscModel())
    for name in names:
        dock = getattr(import_module(f"napari_sampath.widgets.{name}.dock"), f"{name.capitalize()}Dock")
        window.viewer.window.add_dock_widget(dock(window.viewer, window.state), name=name, area="left")
    window.driver.settle()
    window.driver.click(50, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Escape)
    wait_until(painted_nothing, 60, "earlier changes to be painted")
    window.model.go_on.clear()
    with Painted() as painted:
        window.driver.click(50, 60)
        wait(ANSWER_MS // 2)
        assert not painted.seen
        window.model.go_on.set()
        window.answered()
        wait_until(lambda: window.driver.native in painted.seen, 60, "the canvas to be painted")
    assert window.dock.buttons["commit"].isEnabled()


def test_enter_asks_again_after_a_failed_answer(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    works = window.model.decode

    def fails(*_: Any) -> Any:
        raise PromptError("There is no memory left.")

    window.model.decode = fails
    window.driver.click(50, 60)
    window.driver.key(Qt.Key.Key_Return)
    window.answered()
    assert window.text == "There is no memory left."
    window.model.decode = works
    window.annotator.input.ask()
    window.answered()
    assert window.session.prompts.candidate is not None
    assert not window.session.document.objects, "a failed prompt is not committed later"
    window.driver.click(52, 60)
    window.model.decode = fails
    window.driver.click(54, 60)
    window.answered()
    window.model.decode = works
    window.driver.key(Qt.Key.Key_Return)
    window.answered()
    assert set(window.session.document.objects) == {1}


def test_a_drag_makes_a_box_and_does_not_move_the_camera(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    centre = window.viewer.scene.camera.center
    window.driver.drag([(30, 40), (70, 80)])
    window.answered()
    assert window.viewer.scene.camera.center == centre
    np.testing.assert_allclose(window.model.asked[-1].box_xyxy, [30, 40, 70, 80], atol=1)
    assert iou(window.layers.candidate.data == 1, disc((120, 160), 50, 60, 20)) > 0.85
    corners = window.layers.box.data[0]
    np.testing.assert_allclose(corners.min(axis=0), [40, 30], atol=1)
    np.testing.assert_allclose(corners.max(axis=0), [80, 70], atol=1)
    window.driver.key(Qt.Key.Key_Enter)
    assert window.session.document.objects[1].source == "box"
    assert len(window.layers.box.data) == 0

    window.driver.drag([(100, 90), (200, 150)])
    window.answered()
    np.testing.assert_allclose(
        window.model.asked[-1].box_xyxy, [100, 90, 160, 120], atol=1, err_msg="cut at the image's edge"
    )


def test_space_moves_the_image_in_every_mode(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    before = window.viewer.scene.camera.center
    window.driver.hold(Qt.Key.Key_Space, True)
    window.driver.drag([(30, 40), (70, 80)])
    window.driver.hold(Qt.Key.Key_Space, False)
    moved = np.subtract(window.viewer.scene.camera.center, before)[-2:]
    assert np.abs(moved).min() > 20
    assert window.session.prompts.state.empty
    window.driver.click(50, 60)
    assert len(window.session.prompts.state.points) == 1, (
        "after the space bar is let go, clicks are prompts again"
    )


def test_move_mode_leaves_the_mouse_to_napari(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("move")])
    before = window.viewer.scene.camera.center
    window.driver.drag([(30, 40), (70, 80)])
    window.driver.click(50, 60)
    assert window.viewer.scene.camera.center != before
    assert window.session.prompts.state.empty


def test_box_mode_takes_two_corners(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("box")])
    window.driver.click(30, 40)
    assert window.session.prompts.state.empty
    window.driver.click(70, 80)
    window.answered()
    np.testing.assert_allclose(window.model.asked[-1].box_xyxy, [30, 40, 70, 80], atol=1)


def test_mask_mode_scribble_and_object(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("mask")])
    window.driver.drag([(40, 60), (60, 60), (60, 70)])
    window.answered()
    assert window.session.prompts.state.mask is not None
    candidate = window.layers.candidate.data == 1
    assert candidate[60, 50]
    assert candidate[68, 60]
    assert not candidate[75, 45]
    assert not (window.layers.candidate.data == 2).any(), "the scribble is removed when the answer arrives"
    window.driver.key(Qt.Key.Key_Return)
    assert window.session.document.objects[1].source == "mask"

    window.driver.click(50, 60)
    window.answered()
    assert window.session.prompts.state.mask.area_px == window.session.document.objects[1].area_px
    window.driver.key(Qt.Key.Key_Escape)
    assert window.session.prompts.state.empty
    window.driver.click(120, 30)
    assert "No visible label layer has an object here" in window.text
    window.driver.click(50, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Return)
    assert window.session.prompts.state.empty
    assert set(window.session.document.objects) == {1}, "a refined object keeps its id"
    assert window.session.document.objects[1].area_px == candidate.sum()


def test_keys_cycle_candidates_select_classes_and_remove_prompts(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.classes.add_button)
    assert [info.name for info in window.session.classes] == ["object", "Class 2"]
    window.driver.click(50, 60)
    window.answered()
    areas = []
    for _ in range(4):
        areas.append(int((window.layers.candidate.data == 1).sum()))
        window.driver.key(Qt.Key.Key_M)
    assert areas[0] > areas[1] > areas[2] > 0
    assert areas[3] == areas[0]
    window.driver.key(Qt.Key.Key_1)
    assert window.session.active_class == 1
    window.driver.key(Qt.Key.Key_2)
    assert window.session.active_class == 2
    assert window.image.mode == "pan_zoom", (
        "napari's own meaning of 2 on an image layer, transform, is out of the way"
    )
    window.driver.key(Qt.Key.Key_9)
    assert window.session.active_class == 2, "there is no ninth class"
    window.driver.key(Qt.Key.Key_Return)
    assert set(np.unique(window.layers.classes.data)) == {0, 2}
    window.driver.click(115, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Backspace)
    assert window.session.prompts.state.empty
    assert not window.layers.candidate.data.any()
    window.driver.key(Qt.Key.Key_Return)
    assert "nothing to commit" in window.text


def test_delete_and_reclassify_under_the_mouse(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.session.classes.add("stroma")
    for x in (50, 115):
        window.driver.click(x, 60)
        window.answered()
        window.driver.key(Qt.Key.Key_Return)
    window.driver.key(Qt.Key.Key_2)
    window.driver.key(Qt.Key.Key_R)
    assert window.layers.classes.data[60, 115] == 2
    assert window.layers.classes.data[60, 50] == 1
    window.driver.key(Qt.Key.Key_Delete)
    assert window.layers.objects.data[60, 115] == 0
    assert window.layers.objects.data[60, 50] == 1


def test_brush_strokes_are_journalled_and_undone(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    from napari_sampath.config import load_config

    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    assert window.layers.classes.mode == "paint"
    window.driver.drag([(20, 20), (60, 20)])
    painted = window.layers.classes.data == 1
    assert painted[20, 20:60].all()
    assert np.array_equal(window.session.document.class_map == 1, painted)
    assert np.array_equal(window.layers.objects.data == 1, painted)
    (journal,) = load_config().sessions_dir.glob("*.jsonl")
    assert '"source":"brush"' in journal.read_text().replace(" ", "")

    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("erase")])
    window.driver.drag([(40, 10), (40, 30)])
    assert window.layers.classes.data[20, 40] == 0
    assert window.session.document.class_map[20, 40] == 0
    ctrl = Qt.KeyboardModifier.ControlModifier
    window.driver.key(Qt.Key.Key_Z, ctrl)
    assert np.array_equal(window.layers.classes.data == 1, painted)
    window.driver.key(Qt.Key.Key_Z, ctrl)
    assert not window.layers.classes.data.any()
    window.driver.key(Qt.Key.Key_Z, ctrl | Qt.KeyboardModifier.ShiftModifier)
    assert np.array_equal(window.layers.classes.data == 1, painted)


def test_napari_fill_bucket_is_journalled_and_undone(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    window.driver.drag([(20, 20), (60, 20)])
    painted = window.layers.classes.data == 1
    window.viewer.layers.selection.active = window.layers.classes
    window.session.classes.add("stroma")
    window.driver.key(Qt.Key.Key_2)
    window.layers.classes.mode = "fill"
    window.session.overlap = "keep"
    window.driver.click(40, 20)
    assert np.array_equal(window.layers.classes.data == 1, painted), "the overlap rule keeps existing objects"
    window.session.overlap = "overwrite"
    window.driver.click(40, 20)
    assert np.array_equal(window.layers.classes.data == 2, painted)
    assert np.array_equal(window.session.document.class_map, window.layers.classes.data)
    ctrl = Qt.KeyboardModifier.ControlModifier
    window.driver.key(Qt.Key.Key_Z, ctrl)
    assert np.array_equal(window.layers.classes.data == 1, painted)
    assert np.array_equal(window.session.document.class_map == 1, painted)
    window.driver.key(Qt.Key.Key_Z, ctrl | Qt.KeyboardModifier.ShiftModifier)
    assert np.array_equal(window.session.document.class_map == 2, painted)

    window.driver.click(120, 80)
    assert (window.session.document.class_map == 2).all(), "the bucket fills the connected component"
    assert (window.layers.objects.data > 0).all()
    window.driver.key(Qt.Key.Key_Z, ctrl)
    assert np.array_equal(window.layers.classes.data == 2, painted)


def test_napari_polygon_is_journalled_and_undone(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.viewer.layers.selection.active = window.layers.classes
    window.layers.classes.mode = "polygon"
    for x, y in ((30, 30), (90, 30), (90, 70), (30, 70)):
        window.driver.click(x, y)
    window.driver.double_click(30, 70)
    filled = window.session.document.class_map == 1
    assert filled[31:70, 31:90].all()
    assert filled.sum() < 70 * 50
    assert np.array_equal(window.layers.classes.data == 1, filled)
    assert np.array_equal(window.layers.objects.data == 1, filled)

    window.session.overlap = "keep"
    window.session.classes.add("stroma")
    window.driver.key(Qt.Key.Key_2)
    for x, y in ((60, 50), (120, 50), (120, 90), (60, 90)):
        window.driver.click(x, y)
    window.driver.double_click(60, 90)
    assert np.array_equal(window.session.document.class_map == 1, filled)
    assert (window.session.document.class_map[72:90, 62:120] == 2).all()
    assert np.array_equal(window.layers.classes.data, window.session.document.class_map), (
        "napari writes later"
    )
    for _ in range(3):  # Adding the class is a step, too.
        window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.layers.classes.data.any()
    assert not window.session.document.objects


def needs_outlines(window: Any) -> None:
    if outline_of(window.layers.classes) is None:
        pytest.skip("napari draws outlines with the right mouse button since 0.8")


def test_napari_outline_drawn_with_the_right_button_is_journalled_and_undone(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    needs_outlines(window)
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    window.driver.click(30, 30, Qt.MouseButton.RightButton)
    for x, y in ((60, 30), (90, 30), (90, 50), (90, 70), (60, 70), (30, 70), (30, 50), (30, 30)):
        window.driver.move(x, y)
    filled = window.session.document.class_map == 1
    assert filled[30:70, 30:90].all()
    assert np.array_equal(window.layers.classes.data == 1, filled)
    assert len(window.session.document.objects) == 1
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.layers.classes.data.any()


DISCARD = [(Qt.Key.Key_Escape,), (Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)]
"""Keys that discard an unfinished outline or polygon."""


@pytest.mark.parametrize("key", DISCARD)
def test_escape_and_undo_discard_an_unfinished_outline(
    open_window: Callable[..., Any], tissue: np.ndarray, key: tuple[Any, ...]
) -> None:
    """Committed objects and changes made meanwhile are kept."""
    window = open_window(tissue, DiscModel())
    needs_outlines(window)
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    window.driver.drag([(20, 100), (60, 100)])
    window.driver.click(30, 30, Qt.MouseButton.RightButton)
    for x, y in ((60, 30), (90, 30), (90, 50)):
        window.driver.move(x, y)
    assert window.layers.classes.data[30, 60] == 1
    window.session.objects.delete((1,))
    window.driver.key(*key)
    wait_until(
        lambda: np.array_equal(window.layers.classes.data, window.session.document.class_map), 5, "the layer"
    )
    assert not window.session.document.objects
    window.session.undo()
    window.driver.move(30, 30)
    assert set(window.session.document.objects) == {1}, "the outline is gone"


@pytest.mark.parametrize("key", DISCARD)
def test_escape_and_undo_discard_an_unfinished_polygon(
    open_window: Callable[..., Any], tissue: np.ndarray, key: tuple[Any, ...]
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    window.driver.drag([(20, 100), (60, 100)])
    window.layers.classes.mode = "polygon"
    for x, y in ((30, 30), (90, 30), (90, 70)):
        window.driver.click(x, y)
    window.driver.key(*key)
    window.driver.double_click(30, 70)
    assert set(window.session.document.objects) == {1}
    wait_until(
        lambda: np.array_equal(window.layers.classes.data, window.session.document.class_map), 5, "the layer"
    )


def test_a_stroke_extends_the_object_that_it_begins_on(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    window.driver.drag([(20, 20), (60, 20)])
    window.driver.drag([(50, 20), (50, 60)])
    assert set(window.session.document.objects) == {1}
    assert (window.layers.objects.data[20:60, 50] == 1).all()
    window.driver.drag([(100, 60), (50, 60)])
    assert set(window.session.document.objects) == {1, 2}
    assert window.layers.objects.data[60, 100] == 2
    assert np.array_equal(window.layers.objects.data > 0, window.layers.classes.data == 1)


def test_a_stroke_of_an_unknown_class_is_refused(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    window.layers.classes.selected_label = 7
    window.driver.drag([(20, 20), (60, 20)])
    assert not window.layers.classes.data.any()
    assert not window.session.document.class_map.any()
    assert "There is no class with id 7" in window.text


def test_a_click_outside_the_image_shows_one_sentence(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.click(-3, 60)
    assert "outside the image of 160 x 120 px" in window.text
    assert window.session.prompts.state.empty


def test_masks_follow_the_scale_and_translation_of_the_image(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel(), scale=(0.25, 0.25), translate=(100, -40))
    window.driver.click(115, 60)
    window.answered()
    assert iou(window.layers.candidate.data == 1, disc((120, 160), 115, 60, 20)) > 0.9
    assert np.allclose(window.layers.candidate.scale, 0.25)
    assert np.allclose(window.layers.candidate.translate, (100, -40))


def test_layers_follow_a_transformed_image(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.annotator.area_view.on = True
    window.image.scale = (0.5, 0.5)
    window.image.translate = (10, -20)
    window.image.rotate = 30
    window.image.affine = [[1, 0.2, 3], [0, 1, 4], [0, 0, 1]]
    window.driver.settle()
    for layer in (*window.layers.all(), window.viewer.layers["Not annotated yet"]):
        np.testing.assert_allclose(layer.data_to_world((7, 9)), window.image.data_to_world((7, 9)))
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("brush")])
    window.driver.drag([(20, 80), (60, 80)])
    assert window.session.document.class_map[80, 20:60].all()


def test_two_viewers_at_once(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    first = open_window(tissue, DiscModel())
    second = open_window(tissue[:, ::-1].copy(), DiscModel())
    first.driver.click(50, 60)
    second.driver.click(115, 60)
    first.answered()
    second.answered()
    first.driver.key(Qt.Key.Key_Return)
    assert first.layers.classes.data[60, 50] == 1
    assert not second.layers.classes.data.any()
    assert second.layers.candidate.data[60, 115] == 1
    second.driver.key(Qt.Key.Key_Escape)
    assert first.layers.classes.data[60, 50] == 1


def test_masks_equal_those_of_the_model(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    """From the mouse to the layer with a randomly initialised SAM, whose masks are cut to the clicked component."""
    from benchmarks.tiny_sam import tiny_model

    from napari_sampath.arrays import Prompts
    from napari_sampath.predict.decoder.candidates import best_first
    from napari_sampath.predict.decoder.mask_upscaling import keep_prompted, local_mask

    model = tiny_model()
    window = open_window(tissue, model)
    window.driver.click(50, 60)
    window.answered()
    ((x, y, _),) = window.session.prompts.state.points
    features = model.encode(tissue)
    logits, _ = best_first(model, features, Prompts(np.array([[x, y]]), np.array([1])))
    clicked = np.zeros((256, 256), dtype=bool)
    clicked[int(y * 256 / 160), int(x * 256 / 160)] = True

    def assert_shown(k: int) -> None:
        mask = local_mask(features.frame, keep_prompted(logits[k], clicked))
        assert np.array_equal(window.layers.candidate.data == 1, mask.to_dense(tissue.shape[:2]))

    assert_shown(0)
    window.driver.key(Qt.Key.Key_M)
    assert_shown(1)


def test_the_dock_follows_the_brush_key_of_napari(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.viewer.layers.selection.active = window.layers.classes
    window.driver.key(Qt.Key.Key_E)
    assert window.layers.classes.mode == "erase"
    assert window.dock.modes.buttons[type(window.annotator.mode)("erase")].isChecked()
    window.driver.key(Qt.Key.Key_P)
    assert window.dock.modes.buttons[type(window.annotator.mode)("brush")].isChecked()
    window.driver.drag([(20, 20), (60, 20)])
    assert window.session.document.class_map[20, 40] == 1


def test_nothing_is_cut_off_at_1280_x_800(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.viewer.window._qt_window.resize(1280, 800)
    window.driver.settle()
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("mask")])
    window.state.message.emit(
        "The weights of 'vit_b' are not on this machine and could not be downloaded; put sam_vit_b_01ec64.pth "
        "into /home/somebody/.cache/napari-sampath/weights, or choose a file of your own."
    )
    for theme in ("dark", "light"):
        window.viewer.theme = theme
        window.driver.settle()
        assert_nothing_cut_off(window.viewer, window.dock)


def test_the_dock_does_not_scroll_while_the_image_is_encoded(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    from qtpy.QtWidgets import QWidget

    model = DiscModel()
    model.go_on.clear()
    window = open_window(tissue, model, ready=False)
    window.viewer.window._qt_window.resize(1280, 800)
    tab = window.viewer.window.add_dock_widget(QWidget(), name="Another", area="right", tabify=True)
    window.dock.parentWidget().raise_()
    wait_until(model.encoding.is_set, 60, "encoding to begin")
    window.dock.status.doing.setText("Encoding the image: 12 of 64 tiles, 0.66 a second, 2 min left")
    window.driver.settle()
    assert window.dock.status.cancel_button.isVisible()
    assert window.dock.verticalScrollBar().maximum() == 0
    window.viewer.window.remove_dock_widget(tab)
    model.go_on.set()
    wait_until(lambda: window.state.ready, 60, "the image to be encoded")
