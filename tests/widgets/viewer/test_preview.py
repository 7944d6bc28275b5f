"""The preview under the mouse, several boxes, and the lasso, tested with real events and canvas pixels."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QApplication

from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

CYAN = (0, 242, 255)
SHIFT = Qt.KeyboardModifier.ShiftModifier


def canvas(window: Any) -> np.ndarray:
    QApplication.processEvents()
    return np.asarray(window.viewer.screenshot(canvas_only=True, flash=False))[..., :3].astype(int)


def cyan_at(screenshot: np.ndarray, window: Any) -> np.ndarray:
    """Return the positions (N, 2) as (x, y) in image pixels that have the colour of the preview."""
    rows, cols = np.nonzero(np.abs(screenshot - CYAN).max(axis=-1) < 40)
    scale = screenshot.shape[1] / window.driver.native.width()
    left, right = window.driver.at(0, 0), window.driver.at(100, 100)
    x = (cols / scale - left.x()) * 100 / (right.x() - left.x())
    y = (rows / scale - left.y()) * 100 / (right.y() - left.y())
    return np.stack([x, y], axis=-1)


def previewed(window: Any, x: float, y: float) -> None:
    """Hold the mouse over (x, y) until the preview is shown, moving it every two seconds.

    A window that has just been opened may still send a leave event, which hides the preview.
    """
    from benchmarks.gui_driver import wait_until

    preview, again = window.annotator.preview, 0.0

    def shown() -> bool:
        nonlocal again
        if time.monotonic() > again:
            window.driver.move(x, y)
            again = time.monotonic() + 2
        answer = preview.answer
        here = answer is not None and np.hypot(*(np.array(answer.state.points[0][:2]) - (x, y))) < 1
        return here and preview.line.points_xy is not None

    wait_until(shown, 60, "the preview")


def test_the_outline_of_the_mask_of_a_click_follows_the_mouse(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    before = canvas(window)
    assert not len(cyan_at(before, window))
    for x, y in ((50, 60), (115, 70)):
        previewed(window, x, y)
        # The mouse moves by whole canvas pixels, so the disc is around the answered point.
        centre = window.annotator.preview.answer.state.points[0][:2]
        outline = cyan_at(canvas(window), window)
        distance = np.hypot(*(outline - centre).T)
        assert len(outline) > 50
        assert np.percentile(distance, 5) > 17, "the preview is an outline, not an area"
        assert np.percentile(distance, 95) < 23
    assert window.session.prompts.state.empty
    assert not window.layers.candidate.data.any()
    assert not window.session.undo()
    assert "sampath-job" in window.model.threads
    assert len(window.model.encoded) == 1

    window.driver.click(115, 70)
    window.answered()
    assert window.annotator.preview.line.points_xy is None, "a prompt is pending"
    assert (window.layers.candidate.data == 1)[70, 115]
    window.driver.move(60, 60)
    QApplication.processEvents()
    assert window.annotator.preview.line.points_xy is None
    window.driver.key(Qt.Key.Key_Escape)
    previewed(window, 50, 60)
    QApplication.sendEvent(window.driver.native, QEvent(QEvent.Type.Leave))
    assert window.annotator.preview.line.points_xy is None, "the mouse has left the image"
    assert not len(cyan_at(canvas(window), window))


def test_a_click_on_a_shown_preview_is_not_decoded_again(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    previewed(window, 50, 60)
    window.answered()
    asked = len(window.model.asked)
    window.driver.click(50, 60)
    window.answered()
    assert len(window.model.asked) - asked <= 1, "at most the mouse move of the click"
    assert len(window.session.prompts.candidates) == 3
    assert (window.layers.candidate.data == 1)[60, 50]
    window.driver.click(60, 66)
    window.answered()
    assert window.model.asked[-1].mask_logits is not None, "the second click refines"


def test_the_preview_is_switched_off_by_key_and_check_box(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    box = window.dock.modes.preview
    assert box.isChecked()
    previewed(window, 50, 60)
    window.driver.key(Qt.Key.Key_Q)
    assert not box.isChecked()
    assert window.annotator.preview.line.points_xy is None
    window.driver.move(60, 60)
    window.driver.move(62, 60)
    assert window.annotator.preview.line.points_xy is None
    assert not len(cyan_at(canvas(window), window))
    window.driver.press(box)
    assert box.isChecked()
    previewed(window, 50, 62)


def test_there_is_no_preview_in_modes_without_point_prompts(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    buttons, modes = window.dock.modes.buttons, type(window.annotator.mode)
    for k, mode in enumerate(("box", "mask", "lasso", "brush", "erase", "move")):
        window.driver.press(buttons[modes("point")])
        previewed(window, 50 + k, 60)
        window.driver.press(buttons[modes(mode)])
        assert window.annotator.preview.line.points_xy is None, mode
        asked = len(window.model.asked)
        for x in range(40, 60, 4):
            window.driver.move(x, 60)
        assert window.annotator.preview.line.points_xy is None, mode
        assert len(window.model.asked) == asked, mode


def test_a_click_is_answered_before_previews(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    go_on = threading.Event()

    class Held(DiscModel):
        """Decodes only after `go_on` is set."""

        def decode(self, *args: Any) -> Any:
            assert go_on.wait(60)
            return super().decode(*args)

    window = open_window(tissue, Held())
    for x in range(40, 60, 4):
        window.driver.move(x, 60)
    window.driver.click(115, 60)
    window.driver.move(116, 62)
    go_on.set()
    window.answered()
    asked = [round(float(prompts.points_xy[0][0])) for prompts in window.model.asked]
    assert asked == [40, 115], "the preview already started, then the click; other previews are dropped"
    assert (window.layers.candidate.data == 1)[60, 115]
    assert window.annotator.preview.line.points_xy is None


def test_a_click_on_a_preview_in_progress_is_not_decoded_again(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    from benchmarks.gui_driver import wait_until

    begun, go_on = threading.Event(), threading.Event()

    class Held(DiscModel):
        """Decodes only after `go_on` is set."""

        def decode(self, *args: Any) -> Any:
            begun.set()
            assert go_on.wait(60)
            return super().decode(*args)

    window = open_window(tissue, Held())
    window.driver.move(50, 60)
    wait_until(begun.is_set, 60, "the preview")
    window.driver.click(50, 60)
    go_on.set()
    window.answered()
    assert len(window.model.asked) == 1
    assert len(window.session.prompts.candidates) == 3
    assert (window.layers.candidate.data == 1)[60, 50]


def test_shift_drag_adds_the_box_of_one_more_object(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("box")])
    window.driver.drag([(30, 40), (70, 80)])
    window.answered()
    window.driver.drag([(95, 40), (135, 80)], modifiers=SHIFT)
    window.answered()
    assert len(window.session.prompts.state.boxes) == 2
    assert window.layers.box.nshapes == 2
    assert window.dock.candidate.text() == "2 objects, lowest predicted IoU 0.90"
    candidate = window.layers.candidate.data == 1
    assert candidate[60, 50]
    assert candidate[60, 115]
    assert not candidate[60, 82]
    screenshot = canvas(window)
    for x, y in ((50, 40), (115, 40)):
        position = window.driver.at(x, y)
        near = screenshot[position.y() - 3 : position.y() + 4, position.x() - 3 : position.x() + 4].reshape(
            -1, 3
        )
        assert (np.abs(near - (255, 212, 0)).max(axis=-1) < 110).any(), "both boxes are drawn"
    window.driver.key(Qt.Key.Key_Return)
    ids = window.layers.objects.data
    assert ids[60, 50] == 1
    assert ids[60, 115] == 2
    assert window.layers.box.nshapes == 0
    assert [obj.prompts["box"] is not None for obj in window.session.document.objects.values()] == [
        True,
        True,
    ]
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.layers.objects.data.any(), "both are one step of undo"


def test_prompts_that_exclude_several_boxes_are_refused_with_a_message(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.drag([(30, 40), (70, 80)], modifiers=SHIFT)
    window.driver.drag([(95, 40), (135, 80)], modifiers=SHIFT)
    window.answered()
    window.driver.click(50, 60)
    assert "The prompt has 2 boxes, one per object" in window.text
    assert window.layers.box.nshapes == 2
    window.driver.key(Qt.Key.Key_Backspace)
    window.answered()
    assert len(window.session.prompts.state.boxes) == 1
    window.driver.click(50, 60)
    window.answered()
    window.driver.drag([(95, 40), (135, 80)], modifiers=SHIFT)
    assert "commit it first" in window.text
    assert window.layers.box.nshapes == 1


def test_a_lasso_is_a_mask_prompt(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)("lasso")])
    # Between pixel centres, so that rounding to canvas pixels does not decide which pixels are enclosed.
    corners = [(29.5, 39.5), (70.5, 39.5), (70.5, 80.5), (29.5, 80.5)]
    lines: list[Any] = []
    line = window.annotator.input._lasso
    show = line.show
    line.show = lambda path: (lines.append(len(path)), show(path))
    window.driver.drag(corners)
    window.answered()
    assert lines, "the outline is visible while it is drawn"
    assert line.points_xy is None
    mask = window.session.prompts.state.mask
    assert mask is not None
    expected = np.zeros((120, 160), bool)
    expected[40:81, 30:71] = True
    painted = mask.to_dense((120, 160))
    assert (painted & expected).sum() / (painted | expected).sum() > 0.99
    assert window.model.asked[-1].mask_logits is not None
    assert (window.layers.candidate.data == 1)[60, 50]
    window.driver.key(Qt.Key.Key_Return)
    assert window.session.document.objects[1].source == "mask"
    window.driver.click(50, 60)
    window.answered()
    assert window.session.prompts.state.mask.area_px == window.session.document.objects[1].area_px, (
        "a click uses the object as mask prompt"
    )
    window.driver.key(Qt.Key.Key_Escape)
    window.driver.drag([(-30, 20), (-10, 20), (-10, 40)])
    assert "encloses no pixel of the image" in window.text
