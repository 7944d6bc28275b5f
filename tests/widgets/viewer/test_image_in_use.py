"""Several images in one viewer: the image in use is the one that the user sees, and hidden images are never changed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import GuiDriver, wait_until
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication

from napari_sampath.errors import PromptError
from napari_sampath.session import large_changes
from napari_sampath.widgets.segment.dock import SegmentDock
from napari_sampath.widgets.segment.result_layers import ResultLayers
from napari_sampath.widgets.viewer import image_follower
from napari_sampath.widgets.viewer.tools.object_tools import Tool
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui


def in_use(window: Any, layer: Any) -> GuiDriver:
    """Wait until a layer is the image in use and ready for clicks; return a driver for it."""
    wait_until(lambda: window.state.image is layer and window.state.ready, 60, f"{layer.name} to be in use")
    return GuiDriver(window.viewer, layer)


def settle() -> None:
    for _ in range(5):
        QApplication.processEvents()


def add_second(window: Any, tissue: np.ndarray, **options: Any) -> Any:
    return window.viewer.add_image(np.ascontiguousarray(tissue[:, ::-1]), name="second", **options)


def rows_shown(viewer: Any) -> list[str]:
    """Return the names in napari's layer list, from top to bottom."""
    view = viewer.window._qt_viewer.layers
    rows = range(view.model().rowCount())
    return [view.model().index(row, 0).data() for row in rows if not view.isRowHidden(row)]


def test_a_second_image_is_in_use_and_gets_the_clicks(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    first = window.session
    second = add_second(window, tissue)
    driver = in_use(window, second)
    driver.click(50, 60)
    driver.key(Qt.Key.Key_Return)
    window.answered()
    assert window.session is not first
    assert (len(first.document.objects), len(window.session.document.objects)) == (0, 1)
    assert window.dock.model_form.image.currentText() == "second"
    assert window.dock.image_bar.isHidden()


def test_the_same_image_twice_names_the_layer_that_is_open(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    copy = window.viewer.add_image(tissue.copy(), name="copy")
    wait_until(lambda: "'copy' has the same pixels as the layer 'tissue'" in window.text, 60, "the sentence")
    window.viewer.layers.remove(copy)
    in_use(window, window.image).click(50, 60)
    wait_until(lambda: window.session.prompts.candidate is not None, 60, "the candidate")


def test_results_of_heads_are_hidden_with_their_image(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    labels, confidence = np.ones(tissue.shape[:2], np.uint8), np.ones(tissue.shape[:2])
    ResultLayers(window.viewer).show(window.image, labels, confidence, (0, 0), window.session.classes)
    result = window.viewer.layers["Segmentation"]
    second = add_second(window, tissue)
    in_use(window, second)
    settle()
    assert not result.visible, "it would cover the second image"
    assert not {"Segmentation", "Confidence"} & set(rows_shown(window.viewer))
    window.viewer.layers.selection.active = window.image
    in_use(window, window.image)
    settle()
    assert result.visible
    assert not window.viewer.layers["Confidence"].visible
    assert {"Segmentation", "Confidence"} <= set(rows_shown(window.viewer))


def test_selecting_an_image_in_the_layer_list_uses_it(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    second = add_second(window, tissue)
    in_use(window, second)
    window.viewer.layers.selection.active = window.image
    driver = in_use(window, window.image)
    assert "'second' covers it" in window.dock.image_bar.text.text()
    for _ in range(2):
        driver.click(50, 60)
        driver.drag([(30, 40), (70, 80)])
        assert "This is 'second', but 'tissue' is in use" in window.text
    driver.key(Qt.Key.Key_Return)
    window.answered()
    assert not window.session.document.objects, "nothing is made on a covered image"
    window.driver.press(window.dock.image_bar.button)
    settle()
    assert window.state.image is second, "the user clicked on the second image"
    window.viewer.layers.selection.active = window.image
    driver = in_use(window, window.image)
    window.driver.press(window.dock.image_bar.button)
    settle()
    assert not second.visible
    assert window.dock.image_bar.isHidden()
    driver.click(50, 60)
    driver.key(Qt.Key.Key_Return)
    window.answered()
    assert len(window.session.document.objects) == 1


def test_hiding_the_image_in_use_uses_the_visible_one(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    second = add_second(window, tissue)
    in_use(window, second)
    second.visible = False
    driver = in_use(window, window.image)
    assert window.dock.image_bar.isHidden()
    window.image.visible = False
    settle()
    assert "hidden" in window.dock.image_bar.text.text()
    before = dict(window.session.document.objects)
    for mode in ("point", "brush"):
        window.driver.press(window.dock.modes.buttons[type(window.annotator.mode)(mode)])
        driver.drag([(30, 40), (70, 80)])
        driver.key(Qt.Key.Key_Return)
        window.answered()
    assert window.session.document.objects == before
    window.driver.press(window.dock.image_bar.button)
    settle()
    assert window.image.visible
    assert window.dock.image_bar.isHidden()


def test_a_selected_hidden_image_is_named_in_the_bar(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    second = add_second(window, tissue, visible=False)
    settle()
    assert window.state.image is window.image
    assert "'second' is selected, but hidden; 'tissue' is in use" in window.dock.image_bar.text.text()
    window.driver.press(window.dock.image_bar.button)
    in_use(window, second)
    assert second.visible
    assert window.dock.image_bar.isHidden()


def test_a_click_on_an_image_beside_the_one_in_use(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    beside = add_second(window, tissue, translate=(0, 170))
    in_use(window, beside)
    window.viewer.reset_view()
    window.driver.click(50, 60)
    assert "This is 'tissue', but 'second' is in use" in window.text
    assert "Annotate 'tissue'" in window.dock.image_bar.button.text()
    window.driver.press(window.dock.image_bar.button)
    in_use(window, window.image)
    assert not beside.metadata
    assert window.dock.image_bar.isHidden()
    window.driver.click(50, 60)
    window.driver.key(Qt.Key.Key_Return)
    window.answered()
    assert len(window.session.document.objects) == 1


def test_a_transparent_overlay_does_not_cover_the_image(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    second = add_second(window, tissue, opacity=0.4)
    in_use(window, second)
    window.viewer.layers.selection.active = window.image
    driver = in_use(window, window.image)
    assert window.dock.image_bar.isHidden()
    driver.click(50, 60)
    driver.key(Qt.Key.Key_Return)
    window.answered()
    assert len(window.session.document.objects) == 1


def test_the_layer_list_shows_no_helper_layers(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    assert rows_shown(window.viewer) == ["Objects", "Classes", "tissue"]
    window.driver.click(50, 60)
    window.driver.key(Qt.Key.Key_Return)
    window.answered()
    second = add_second(window, tissue)
    in_use(window, second)
    shown = rows_shown(window.viewer)
    assert len(shown) == 4, shown
    assert {"tissue", "second"} < set(shown)
    old = [layer for layer in window.viewer.layers if layer.metadata.get("napari-sampath") == "tissue"]
    assert len(old) == 2
    assert not any(layer.visible for layer in old), "labels of another image are not drawn over this one"
    window.viewer.layers.selection.active = window.image
    in_use(window, window.image)
    assert len(rows_shown(window.viewer)) == 4
    assert window.layers.objects.visible
    window.viewer.layers.move(0, 2)
    assert len(rows_shown(window.viewer)) == 4
    window.viewer.window.remove_dock_widget(window.dock.parent())
    wait_until(lambda: window.state.annotator is None, 60, "the dock to close")
    assert len(rows_shown(window.viewer)) == len(window.viewer.layers)


def test_an_opened_image_is_in_use_though_another_layer_is_added_at_once(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    """The result of a run may be added, and its image be selected, in the same turn of the event loop."""
    window = open_window(tissue, DiscModel())
    second = add_second(window, tissue)
    window.viewer.add_labels(np.zeros(tissue.shape[:2], np.uint8), name="result")
    window.viewer.layers.selection.active = window.image
    in_use(window, second)


def test_layers_and_session_follow_a_renamed_image(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    window.image.name = "case 7"
    settle()
    assert window.session.name == "case 7"
    assert window.layers.classes.metadata["napari-sampath"] == "case 7"
    second = add_second(window, tissue)
    in_use(window, second)
    window.viewer.layers.selection.active = window.image
    in_use(window, window.image)
    marked = [layer for layer in window.viewer.layers if layer.metadata.get("napari-sampath") == "case 7"]
    assert len(marked) == len(window.layers.all()), "no second set of layers"


@pytest.mark.parametrize("shape", [(120, 160), (90, 110)])
def test_objects_stay_with_the_pixels_that_they_were_drawn_on(
    open_window: Callable[..., Any],
    tissue: np.ndarray,
    shape: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plugins of napari replace the pixels of a layer when they are run again."""
    said: list[str] = []
    monkeypatch.setattr(image_follower, "show_warning", said.append)
    window = open_window(tissue, DiscModel())
    first = window.session
    window.driver.click(50, 60)
    window.driver.key(Qt.Key.Key_Return)
    window.answered()
    pixels = np.ascontiguousarray(tissue[: shape[0], : shape[1]][::-1, ::-1])
    window.image.data = pixels
    wait_until(lambda: window.state.session not in (None, first), 60, "the new pixels")
    driver = in_use(window, window.image)
    np.testing.assert_array_equal(window.session.image, pixels)
    assert not window.session.document.objects
    assert window.layers.objects.data.shape == shape
    assert "'tissue' were replaced" in said[0]
    driver.settle()
    driver.click(80, 40)
    driver.key(Qt.Key.Key_Return)
    window.answered()
    (added,) = window.session.document.objects.values()
    assert np.asarray(window.session.document.instance_map)[40, 80] == added.id
    second = window.session
    window.image.data = tissue
    wait_until(lambda: window.state.session not in (None, second), 60, "the earlier pixels")
    in_use(window, window.image)
    assert len(window.session.document.objects) == 1, "the object of the earlier pixels"
    assert {layer.data.shape for layer in window.layers.all()[:2]} == {(120, 160)}
    assert len([layer for layer in window.viewer.layers if "napari-sampath" in layer.metadata]) == 5


def test_results_of_heads_are_never_the_image_in_use(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    dock = SegmentDock(window.viewer, window.state)
    window.viewer.window.add_dock_widget(dock, name="Auto-segment", area="left")
    dock._layers.show(
        window.image, np.zeros(tissue.shape[:2], np.uint8), np.zeros(tissue.shape[:2], np.float32), (0, 0), ()
    )
    confidence = window.viewer.layers["Confidence"]
    confidence.visible = True
    window.viewer.layers.selection.active = confidence
    settle()
    assert window.state.image is window.image
    assert window.state.images() == [window.image]
    assert window.dock.image_bar.isHidden()


def test_large_changes_land_after_the_switch_and_failures_are_said(
    open_window: Callable[..., Any], tissue: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are still computed when their image is not in use any more."""
    monkeypatch.setattr(large_changes, "LARGE_PX", 10)
    window = open_window(tissue, DiscModel())
    session, go_on, said = window.session, threading.Event(), []
    window.state.message.connect(said.append)
    session.paint([20, 20, 21, 21], [30, 31, 30, 31], 1)

    def fails(*_: object) -> None:
        raise PromptError("It cannot be done; try another one.")

    session.large_changes.submit(lambda *_: go_on.wait(60), 100, "a slow change")
    window.annotator.tools.use(Tool.GROW, (30, 20))
    window.annotator.complete(True)
    session.large_changes.submit(fails, 100, "a change")
    second = add_second(window, tissue)
    in_use(window, second)
    settle()
    go_on.set()
    wait_until(lambda: not len(session.large_changes), 60, "the changes")
    assert session.document.record(1).area_px > 4
    assert session.area.mask().all()
    assert "'tissue': It cannot be done; try another one." in said
    assert not window.session.document.objects
