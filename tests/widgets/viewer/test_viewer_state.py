"""One viewer's image from opened to ready: bad images, other images, closed layers, reopened windows, slow
models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sampath.errors import WeightsMissingError
from napari_sampath.jobs import Progress
from support.event_loop import assert_alive, idle_stall, longest_stalls
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.gui


@pytest.mark.alone
def test_the_window_stays_responsive_while_a_slow_model_encodes(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    """The longest stall of the event loop is under 100 ms."""
    model = DiscModel()
    model.go_on.clear()
    window = open_window(tissue, model, ready=False)
    wait_until(window.model.encoding.is_set, 60, "encoding to begin")
    stalls = longest_stalls(idle_stall)
    assert not window.state.ready
    model.go_on.set()
    wait_until(lambda: window.state.ready, 60, "the image to be encoded")
    assert_alive(stalls)


@pytest.mark.parametrize("enter", [False, True])
def test_a_click_during_encoding_is_answered_afterwards(
    open_window: Callable[..., Any], tissue: np.ndarray, enter: bool
) -> None:
    """Enter pressed meanwhile commits the answer, once."""
    model = DiscModel()
    model.go_on.clear()
    window = open_window(tissue, model, ready=False)
    wait_until(model.encoding.is_set, 60, "encoding to begin")
    window.driver.click(50, 60)
    for _ in range(3 * enter):
        window.driver.key(Qt.Key.Key_Return)
        assert "still being computed" in window.text
    model.go_on.set()
    wait_until(
        lambda: window.session.document.objects if enter else window.session.prompts.candidate,
        60,
        "the answer",
    )
    window.answered()
    assert (window.layers.classes if enter else window.layers.candidate).data[60, 50] == 1
    assert len(window.session.document.objects) == enter
    assert window.session.prompts.state.empty == enter
    assert len(window.model.encoded) == 1, "the tile is encoded once"


def test_progress_is_shown_and_cancel_works(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(np.tile(tissue, (20, 20, 1)), DiscModel(encode_s=0.4), ready=False)
    wait_until(lambda: len(window.model.encoded) >= 2, 60, "two tiles")
    wait_until(lambda: "parts" in window.dock.status.doing.text(), 60, "progress")
    assert "Preparing the image for clicks" in window.dock.status.doing.text()
    assert window.dock.status.bar.value() > 0
    window.driver.press(window.dock.status.cancel_button)
    encoded = len(window.model.encoded)
    assert not window.state.runner.busy
    assert window.state.runner.wait(60)
    assert len(window.model.encoded) <= encoded + 1
    window.driver.click(50, 60)
    window.answered()
    assert window.session.prompts.candidate is not None, "a click encodes its own tile"


@pytest.mark.parametrize(
    ("pixels", "sentence"),
    [
        (np.full((40, 50, 3), 7, np.uint8), "same value"),
        (np.zeros((40, 3), np.uint8), "minimum is 16 x 16 px"),
        (np.full((40, 50), np.nan), "not finite"),
        (np.zeros((4, 40, 50, 6), np.uint8), "dimensions"),
    ],
    ids=["one value", "three wide", "nan", "four-dimensional"],
)
def test_a_bad_image_is_reported_in_one_sentence(
    viewers: Callable[[], Any], pixels: np.ndarray, sentence: str
) -> None:
    from napari_sampath.widgets.annotate.dock import AnnotateDock
    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    viewer = viewers()
    dock = AnnotateDock(viewer, ViewerState(viewer, load_model=loader(DiscModel())))
    viewer.window.add_dock_widget(dock)
    failures: list[str] = []
    dock.state.runner.failed.connect(failures.append)
    viewer.add_image(pixels, name="bad", contrast_limits=(0, 1))
    wait_until(lambda: bool(failures), 60, "the sentence")
    assert dock.status.message.text() == failures[0]
    assert sentence in failures[0]
    assert "Traceback" not in failures[0]
    assert "unexpected" not in failures[0]
    assert dock.state.annotator is None
    assert [layer.name for layer in viewer.layers] == ["bad"]


@pytest.mark.parametrize("channels", [1, 4])
def test_unusual_images_are_converted_with_a_note(
    open_window: Callable[..., Any], tissue: np.ndarray, channels: int
) -> None:
    grey = tissue[..., 0].astype(np.uint16) * 200
    rgba = np.dstack([tissue, np.full(tissue.shape[:2], 255, np.uint8)])
    window = open_window(grey if channels == 1 else rgba, DiscModel(encode_s=0.5), ready=False)
    wait_until(lambda: window.state.annotator is not None, 60, "the session")
    assert window.session.image.shape == tissue.shape
    assert ("grey" if channels == 1 else "alpha") in window.text.lower()


def test_missing_weights_are_reported_and_another_model_can_be_chosen(
    viewers: Callable[[], Any], tissue: np.ndarray
) -> None:
    from napari_sampath.widgets.annotate.dock import AnnotateDock
    from napari_sampath.widgets.viewer.viewer_state import ModelChoice, ViewerState

    model = DiscModel()

    def load(choice: ModelChoice) -> Iterator[Any]:
        yield Progress(0, 0)
        if choice.name == "vit_b":
            raise WeightsMissingError(
                "The weights of 'vit_b' are not here; put sam_vit_b_01ec64.pth into /weights."
            )
        return model

    viewer = viewers()
    dock = AnnotateDock(viewer, ViewerState(viewer, load_model=load))
    viewer.window.add_dock_widget(dock)
    dock.state.choose_model(ModelChoice("vit_b"))
    viewer.add_image(tissue)
    wait_until(lambda: "put sam_vit_b_01ec64.pth" in dock.status.message.text(), 60, "the sentence")
    dock.model_form.model.setCurrentIndex(dock.model_form.model.findData("sampath-tiny"))
    dock.model_form.model.activated.emit(dock.model_form.model.currentIndex())
    wait_until(lambda: dock.state.ready, 60, "the other model")
    assert dock.state.session.model is model


def test_changing_the_image_and_back_keeps_objects_and_undo(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.click(50, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Return)
    committed = window.layers.classes.data.copy()
    first = window.layers.classes
    other = window.viewer.add_image(tissue[:, ::-1].copy(), name="other")
    wait_until(lambda: window.state.image is other and window.state.ready, 60, "the other image")
    assert not first.editable, "strokes on it would be lost"
    assert not window.layers.classes.data.any()
    window.dock.model_form.image.activated.emit(0)
    wait_until(lambda: window.state.image is window.image and window.state.ready, 60, "the first image")
    assert np.array_equal(window.layers.classes.data, committed)
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.layers.classes.data.any()


def test_a_closed_annotation_layer_is_restored(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.click(50, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Return)
    window.viewer.layers.remove(window.layers.classes)
    wait_until(lambda: "shown again" in window.text, 60, "the sentence")
    assert window.layers.classes in window.viewer.layers
    assert window.layers.classes.data[60, 50] == 1
    assert [layer.name for layer in window.viewer.layers].count("Classes") == 1
    window.viewer.layers.remove(window.image)
    wait_until(lambda: window.state.image is None, 60, "the image to be let go")
    assert window.annotator is None


def test_objects_are_restored_when_the_image_is_opened_again(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.driver.click(50, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Return)
    committed = window.layers.classes.data.copy()
    state = window.state
    window.viewer.window.remove_dock_widget(window.dock)
    wait_until(lambda: state.annotator is None, 60, "the dock to go")
    window.viewer.layers.clear()

    again = open_window(tissue, DiscModel(), name="renamed")
    assert np.array_equal(again.layers.classes.data, committed)
    again.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not again.layers.classes.data.any(), "undo includes the steps of the earlier session"


def test_closing_the_dock_releases_mouse_and_keys(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    state, viewer = window.state, window.viewer
    assert window.image.keymap
    viewer.window.remove_dock_widget(window.dock)
    wait_until(lambda: state.annotator is None, 60, "the dock to go")
    assert not window.image.keymap
    assert not viewer.keymap
    assert [layer.name for layer in viewer.layers] == ["tissue", "Classes", "Objects"]
    zooms = [getattr(callback, "__name__", "") for callback in viewer.mouse_double_click_callbacks]
    assert "double_click_to_zoom" in zooms
    before = viewer.scene.camera.center
    GuiDriver(viewer, window.image).drag([(30, 40), (70, 80)])
    assert viewer.scene.camera.center != before


def test_the_same_image_in_two_viewers_is_refused_with_one_sentence(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    """Two sessions on one journal would overwrite each other."""
    first = open_window(tissue, DiscModel())
    second = open_window(tissue, DiscModel(), ready=False)
    wait_until(lambda: "open" in second.text and not second.state.runner.busy, 60, "the sentence")
    assert second.annotator is None
    assert "Traceback" not in second.text
    first.viewer.window.remove_dock_widget(first.dock)
    wait_until(lambda: first.annotator is None, 60, "the first dock to go")
    second.state.choose_image(second.image)
    wait_until(lambda: second.state.ready, 60, "the image, which is free now")


def test_an_image_can_be_reopened_while_its_old_layer_is_referenced(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    held = window.image
    window.driver.click(50, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Return)
    window.viewer.layers.remove(held)
    wait_until(lambda: window.state.image is None, 60, "the image to be let go")
    window.viewer.add_image(tissue, name="again")
    wait_until(lambda: window.state.ready, 60, "the image")
    assert window.layers.classes.data[60, 50] == 1


def test_a_three_dimensional_image_is_refused_with_one_sentence(open_window: Callable[..., Any]) -> None:
    window = open_window(np.zeros((5, 40, 60), np.uint8), DiscModel(), ready=False)
    wait_until(lambda: "3 dimensions" in window.text and not window.state.runner.busy, 60, "the sentence")
    assert "unexpected" not in window.text
    assert window.annotator is None


def test_the_context_is_current_whenever_a_layer_is_removed(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    """napari flushes queued OpenGL commands when a layer is removed, which crashes without a context."""
    from qtpy.QtGui import QOpenGLContext

    window = open_window(tissue, DiscModel())
    native = window.viewer.window._qt_viewer.canvas.native
    current: list[bool] = []

    def look() -> None:
        current.append(QOpenGLContext.currentContext() is native.context())

    window.viewer.layers.events.removed.connect(look)
    other = window.viewer.add_image(tissue, name="other")
    native.doneCurrent()
    assert QOpenGLContext.currentContext() is not native.context()
    window.viewer.layers.remove(other)
    window.viewer.layers.events.removed.disconnect(look)
    assert current == [True]


def test_a_new_dock_works_after_the_last_one_was_closed(viewer: Any, tissue: np.ndarray) -> None:
    from napari_sampath.widgets.annotate.dock import AnnotateDock

    first = AnnotateDock(viewer)
    held = first.state
    viewer.window.add_dock_widget(first, name="Annotate")
    viewer.window.remove_dock_widget(first)
    wait_until(lambda: held._users == 0, 60, "the dock to be gone")
    again = AnnotateDock(viewer)
    assert again.state is not held
    viewer.window.add_dock_widget(again, name="Annotate")
    image = viewer.add_image(tissue, name="tissue")
    wait_until(lambda: again.state.image is image and again.state.ready, 120, "the image to be ready")


@pytest.mark.parametrize("how", ["fails", "cancelled"])
def test_the_model_box_shows_the_model_that_answers(
    viewers: Callable[[], Any], tissue: np.ndarray, tmp_path: Path, how: str
) -> None:
    """After a weights file that cannot be loaded, or a cancelled load, the previous model is in use and shown."""
    from napari_sampath.widgets.annotate.dock import AnnotateDock
    from napari_sampath.widgets.viewer.viewer_state import ModelChoice, ViewerState

    model = DiscModel()

    def load(choice: ModelChoice) -> Iterator[Any]:
        yield Progress(0, 0)
        if choice.weights is not None:
            if how == "fails":
                raise WeightsMissingError("bad.pth holds no weights; choose another file.")
            while True:
                yield Progress(0, 0)
        return model

    viewer = viewers()
    dock = AnnotateDock(viewer, ViewerState(viewer, load_model=load))
    viewer.window.add_dock_widget(dock)
    layer = viewer.add_image(tissue)
    wait_until(lambda: dock.state.ready, 60, "the first model")
    before = dock.model_form.model.currentText(), dock.state.choice
    dock.model_form.valueChanged.emit(ModelChoice("vit_b", weights=tmp_path / "bad.pth"))
    if how == "cancelled":
        wait_until(lambda: dock.state.runner.busy, 60, "the job")
        QTest.mouseClick(dock.status.cancel_button, Qt.MouseButton.LeftButton)
    wait_until(lambda: dock.state.model is model, 60, "the previous model")
    assert (dock.model_form.model.currentText(), dock.state.choice) == before
    assert dock.status.message.text().endswith("sampath-tiny stays in use.")
    assert how == "cancelled" or "bad.pth holds no weights" in dock.status.message.text()
    assert dock.state.ready
    driver = GuiDriver(viewer, layer)
    driver.settle()
    driver.click(50, 60)
    driver.key(Qt.Key.Key_Return)
    wait_until(lambda: bool(dock.state.session.document.objects), 60, "the object")
    assert dock.state.session.document.objects[1].model == "discs"
