"""Find similar in the Annotate dock, with real key events and the shipped model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt

from napari_sampath.annotations import Add, AnnotatedObject
from napari_sampath.arrays import LocalMask

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui

HW = (192, 256)
CENTRES = [(row, col) for row in (40, 96, 152) for col in (40, 100, 160, 220)]


def nucleus(number: int) -> LocalMask:
    row, col = CENTRES[number]
    rows, cols = np.mgrid[: HW[0], : HW[1]]
    return LocalMask.from_dense((rows - row) ** 2 + (cols - col) ** 2 <= 14**2)


@pytest.fixture
def window(open_window: Callable[..., Any]) -> Any:
    import napari_sampath as ns

    rng = np.random.default_rng(0)
    image = np.full((*HW, 3), (225, 170, 205), np.float64)
    for number in range(len(CENTRES)):
        image[nucleus(number).to_dense(HW)] = (95, 60, 140)
    pixels = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    window = open_window(pixels, ns.load_model("sampath-tiny", device="cpu"))
    window.session._editor.do(Add(((AnnotatedObject(1, 1, "point"), nucleus(5)),)))
    window.driver.settle()
    return window


def proposed(window: Any) -> list[AnnotatedObject]:
    return [obj for obj in window.session.document.objects.values() if obj.source == "similar"]


def idle(window: Any) -> None:
    form = window.dock.similar
    wait_until(lambda: not form.runner.busy and not form.apply_queue.busy, 120, "the similar objects")


def test_the_key_proposes_objects_like_the_one_under_the_mouse_and_the_slider_filters_them(
    window: Any,
) -> None:
    form = window.dock.similar
    assert not form.slider.isEnabled(), "there is no result yet"
    row, col = CENTRES[5]
    window.driver.move(col, row)
    window.driver.key(Qt.Key.Key_F)
    wait_until(lambda: bool(proposed(window)), 120, "proposals")
    idle(window)
    count = len(proposed(window))
    assert count >= 7
    assert f"{count} similar objects" in window.dock.status.message.text()
    row, col = CENTRES[6]
    assert window.layers.classes.data[row, col] == 1, "proposals are painted"

    form.slider.setValue(100)
    idle(window)
    assert len(proposed(window)) < count
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert len(proposed(window)) == count, "one undo step"


def test_the_button_starts_from_the_selected_class_and_says_if_there_is_no_object(window: Any) -> None:
    form = window.dock.similar
    window.session.classes.add("stroma")
    window.state.annotator.choose_class(2)
    window.driver.press(form.find_button)
    assert "no object of class 'stroma'" in window.dock.status.message.text()
    assert not proposed(window)
    window.state.annotator.choose_class(1)
    window.driver.press(form.find_button)
    wait_until(lambda: bool(proposed(window)), 120, "proposals")
    idle(window)
    assert form.slider.isEnabled()


def test_a_missing_box_is_named(window: Any) -> None:
    form = window.dock.similar
    form.region.setCurrentIndex(form.region.findData("box"))
    window.driver.press(form.find_button)
    assert "The region is empty" in window.dock.status.message.text()
    assert not form.runner.busy
