"""One viewer's image from opened to ready: bad images, other images, closed layers, reopened windows, slow
models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_sampath.errors import WeightsMissingError
from napari_sampath.jobs import Progress
from support.event_loop import assert_alive, idle_stall, longest_stalls
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.gui


@pytest.mark.alone
def test_the_window_stays_alive_while_a_slow_model_encodes(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    """The longest stall of the event loop, by a timer: under 100 ms."""
    model = DiscModel()
    model.go_on.clear()
    b = open_bench(tissue, model, ready=False)
    wait_until(b.model.encoding.is_set, 60, "encoding to begin")
    stalls = longest_stalls(idle_stall)
    assert not b.bench.ready
    model.go_on.set()
    wait_until(lambda: b.bench.ready, 60, "the image to be encoded")
    assert_alive(stalls)


@pytest.mark.parametrize("enter", [False, True])
def test_a_click_during_encoding_is_answered_when_it_is_done(
    open_bench: Callable[..., Any], tissue: np.ndarray, enter: bool
) -> None:
    """And what Enter was pressed for is committed then, once."""
    model = DiscModel()
    model.go_on.clear()
    b = open_bench(tissue, model, ready=False)
    wait_until(model.encoding.is_set, 60, "encoding to begin")
    b.driver.click(50, 60)
    for _ in range(3 * enter):
        b.driver.key(Qt.Key.Key_Return)
        assert "not there yet" in b.text
    model.go_on.set()
    wait_until(lambda: b.session.document.objects if enter else b.session.candidate, 60, "the answer")
    b.answered()
    assert (b.layers.classes if enter else b.layers.candidate).data[60, 50] == 1
    assert len(b.session.document.objects) == enter
    assert b.session.prompts.empty == enter
    assert len(b.model.encoded) == 1, "the tile is encoded once, whoever asks first"


def test_progress_is_shown_and_cancel_works(open_bench: Callable[..., Any], tissue: np.ndarray) -> None:
    b = open_bench(np.tile(tissue, (20, 20, 1)), DiscModel(encode_s=0.4), ready=False)
    wait_until(lambda: len(b.model.encoded) >= 2, 60, "two tiles")
    wait_until(lambda: "parts" in b.dock.status.doing.text(), 10, "progress")
    assert "Preparing the image for clicks" in b.dock.status.doing.text()
    assert b.dock.status.bar.value() > 0
    b.driver.press(b.dock.status.cancel_button)
    encoded = len(b.model.encoded)
    assert not b.bench.runner.busy
    assert b.bench.runner.wait(10)
    assert len(b.model.encoded) <= encoded + 1
    b.driver.click(50, 60)
    b.answered()
    assert b.session.candidate is not None, "a click encodes its own tile"


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.full((40, 50, 3), 7, np.uint8), "same value"),
        (np.zeros((40, 3), np.uint8), "at least 16 x 16 px"),
        (np.full((40, 50), np.nan), "not numbers"),
        (np.zeros((4, 40, 50, 6), np.uint8), "dimensions"),
    ],
    ids=["one value", "three wide", "nan", "four-dimensional"],
)
def test_a_bad_image_is_one_sentence(viewers: Callable[[], Any], pixels: np.ndarray, sentence: str) -> None:
    from napari_sampath.widgets.annotate.dock import AnnotateDock
    from napari_sampath.widgets.viewer.viewer_state import Workbench

    viewer = viewers()
    dock = AnnotateDock(viewer, Workbench(viewer, load_model=loader(DiscModel())))
    viewer.window.add_dock_widget(dock)
    failures: list[str] = []
    dock.bench.runner.failed.connect(failures.append)
    viewer.add_image(pixels, name="bad", contrast_limits=(0, 1))
    wait_until(lambda: bool(failures), 60, "the sentence")
    assert dock.status.message.text() == failures[0]
    assert sentence in failures[0]
    assert "Traceback" not in failures[0]
    assert "unexpected" not in failures[0]
    assert dock.bench.annotator is None
    assert [layer.name for layer in viewer.layers] == ["bad"]


@pytest.mark.parametrize("channels", [1, 4])
def test_other_images_are_converted_and_it_is_said_how(
    open_bench: Callable[..., Any], tissue: np.ndarray, channels: int
) -> None:
    grey = tissue[..., 0].astype(np.uint16) * 200
    rgba = np.dstack([tissue, np.full(tissue.shape[:2], 255, np.uint8)])
    b = open_bench(grey if channels == 1 else rgba, DiscModel(encode_s=0.5), ready=False)
    wait_until(lambda: b.bench.annotator is not None, 60, "the session")
    assert b.session.image.shape == tissue.shape
    assert ("grey" if channels == 1 else "alpha") in b.text.lower()


def test_missing_weights_are_one_sentence_and_another_model_can_be_chosen(
    viewers: Callable[[], Any], tissue: np.ndarray
) -> None:
    from napari_sampath.widgets.annotate.dock import AnnotateDock
    from napari_sampath.widgets.viewer.viewer_state import ModelChoice, Workbench

    model = DiscModel()

    def load(choice: ModelChoice) -> Iterator[Any]:
        yield Progress(0, 0)
        if choice.name == "vit_b":
            raise WeightsMissingError(
                "The weights of 'vit_b' are not here; put sam_vit_b_01ec64.pth into /weights."
            )
        return model

    viewer = viewers()
    dock = AnnotateDock(viewer, Workbench(viewer, load_model=load))
    viewer.window.add_dock_widget(dock)
    dock.bench.choose_model(ModelChoice("vit_b"))
    viewer.add_image(tissue)
    wait_until(lambda: "put sam_vit_b_01ec64.pth" in dock.status.message.text(), 60, "the sentence")
    dock.choices.model.setCurrentIndex(dock.choices.model.findData("sampath-tiny"))
    dock.choices.model.activated.emit(dock.choices.model.currentIndex())
    wait_until(lambda: dock.bench.ready, 60, "the other model")
    assert dock.bench.session.model is model


def test_going_to_another_image_and_back_keeps_annotations_and_undo(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    b = open_bench(tissue, DiscModel())
    b.driver.click(50, 60)
    b.answered()
    b.driver.key(Qt.Key.Key_Return)
    committed = b.layers.classes.data.copy()
    other = b.viewer.add_image(tissue[:, ::-1].copy(), name="other")
    QApplication.processEvents()
    assert b.bench.image is b.image, "an image that is added does not take over"
    first = b.layers.classes
    b.dock.choices.image.setCurrentIndex(1)
    b.dock.choices.image.activated.emit(1)
    wait_until(lambda: b.bench.image is other and b.bench.ready, 60, "the other image")
    assert not first.editable, "nothing would record a stroke on it"
    assert not b.layers.classes.data.any()
    b.dock.choices.image.activated.emit(0)
    wait_until(lambda: b.bench.image is b.image and b.bench.ready, 60, "the first image")
    assert np.array_equal(b.layers.classes.data, committed)
    b.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not b.layers.classes.data.any()


def test_a_layer_the_user_closes_comes_back(open_bench: Callable[..., Any], tissue: np.ndarray) -> None:
    b = open_bench(tissue, DiscModel())
    b.driver.click(50, 60)
    b.answered()
    b.driver.key(Qt.Key.Key_Return)
    b.viewer.layers.remove(b.layers.classes)
    wait_until(lambda: "shown anew" in b.text, 10, "the sentence")
    assert b.layers.classes in b.viewer.layers
    assert b.layers.classes.data[60, 50] == 1
    assert [layer.name for layer in b.viewer.layers].count("Classes") == 1
    b.viewer.layers.remove(b.image)
    wait_until(lambda: b.bench.image is None, 10, "the image to be let go")
    assert b.annotator is None


def test_annotations_are_there_when_the_image_is_opened_again(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    b = open_bench(tissue, DiscModel())
    b.driver.click(50, 60)
    b.answered()
    b.driver.key(Qt.Key.Key_Return)
    committed = b.layers.classes.data.copy()
    bench = b.bench
    b.viewer.window.remove_dock_widget(b.dock)
    wait_until(lambda: bench.annotator is None, 10, "the dock to go")
    b.viewer.layers.clear()

    again = open_bench(tissue, DiscModel(), name="renamed")
    assert np.array_equal(again.layers.classes.data, committed)
    again.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not again.layers.classes.data.any(), "undo reaches back into the session before"


def test_closing_the_dock_gives_mouse_and_keys_back(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    b = open_bench(tissue, DiscModel())
    bench, viewer = b.bench, b.viewer
    assert b.image.keymap
    viewer.window.remove_dock_widget(b.dock)
    wait_until(lambda: bench.annotator is None, 10, "the dock to go")
    assert not b.image.keymap
    assert not viewer.keymap
    assert [layer.name for layer in viewer.layers] == ["tissue", "Classes", "Objects"]
    zooms = [getattr(one, "__name__", "") for one in viewer.mouse_double_click_callbacks]
    assert "double_click_to_zoom" in zooms
    before = viewer.scene.camera.center
    GuiDriver(viewer, b.image).drag([(30, 40), (70, 80)])
    assert viewer.scene.camera.center != before


def test_the_same_image_in_two_viewers_is_one_sentence(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    """Two sessions on one journal would overwrite each other."""
    first = open_bench(tissue, DiscModel())
    second = open_bench(tissue, DiscModel(), ready=False)
    wait_until(lambda: "open" in second.text and not second.bench.runner.busy, 60, "the sentence")
    assert second.annotator is None
    assert "Traceback" not in second.text
    first.viewer.window.remove_dock_widget(first.dock)
    wait_until(lambda: first.annotator is None, 10, "the first dock to go")
    second.bench.choose_image(second.image)
    wait_until(lambda: second.bench.ready, 60, "the image, which is free now")


def test_an_image_is_opened_again_while_its_old_layer_is_still_held(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    b = open_bench(tissue, DiscModel())
    held = b.image
    b.driver.click(50, 60)
    b.answered()
    b.driver.key(Qt.Key.Key_Return)
    b.viewer.layers.remove(held)
    wait_until(lambda: b.bench.image is None, 10, "the image to be let go")
    b.viewer.add_image(tissue, name="again")
    wait_until(lambda: b.bench.ready, 60, "the image")
    assert b.layers.classes.data[60, 50] == 1


def test_an_image_with_a_third_dimension_is_one_sentence(open_bench: Callable[..., Any]) -> None:
    b = open_bench(np.zeros((3, 40, 60), np.uint8), DiscModel(), ready=False)
    wait_until(lambda: "3 dimensions" in b.text and not b.bench.runner.busy, 60, "the sentence")
    assert "unexpected" not in b.text
    assert b.annotator is None


def test_a_layer_that_anybody_removes_finds_the_canvas(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    """napari sends what waits for the graphics card off when a layer goes: without a context that crashes."""
    from qtpy.QtGui import QOpenGLContext

    b = open_bench(tissue, DiscModel())
    native = b.viewer.window._qt_viewer.canvas.native
    found: list[bool] = []

    def look() -> None:
        found.append(QOpenGLContext.currentContext() is native.context())

    b.viewer.layers.events.removed.connect(look)
    other = b.viewer.add_image(tissue, name="other")
    native.doneCurrent()
    assert QOpenGLContext.currentContext() is not native.context()
    b.viewer.layers.remove(other)
    b.viewer.layers.events.removed.disconnect(look)
    assert found == [True]


def test_a_dock_opened_after_the_last_one_was_closed_works(viewer: Any, tissue: np.ndarray) -> None:
    from napari_sampath.widgets.annotate.dock import AnnotateDock

    first = AnnotateDock(viewer)
    held = first.bench
    viewer.window.add_dock_widget(first, name="Annotate")
    viewer.window.remove_dock_widget(first)
    wait_until(lambda: held._users == 0, 10, "the dock to be gone")
    again = AnnotateDock(viewer)
    assert again.bench is not held
    viewer.window.add_dock_widget(again, name="Annotate")
    image = viewer.add_image(tissue, name="tissue")
    wait_until(lambda: again.bench.image is image and again.bench.ready, 120, "the image to be ready")
