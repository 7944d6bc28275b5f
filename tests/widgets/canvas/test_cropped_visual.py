"""Cropped drawing of layers gives the same frame as drawing them as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import LEFT, NONE, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_sampath.widgets.canvas.napari_internals.napari_canvas import node_of
from napari_sampath.widgets.viewer.mouse import Mode
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui


def wait_for_empty_layers(window: Any) -> None:
    wait_until(lambda: not drawn(window), 60, "empty layers to be hidden")


def drawn(window: Any) -> set[str]:
    """Return the names of the layers that are drawn."""
    layers = (window.layers.classes, window.layers.objects, window.layers.candidate, window.layers.box)
    return {layer.name for layer in layers if node_of(window.viewer, layer).visible}


def frame(window: Any) -> np.ndarray:
    """Return the frame, after comparing it with a frame in which napari draws the whole layers."""
    seen = window.viewer.screenshot(canvas_only=True, flash=False)
    label_layers = (window.layers.classes, window.layers.objects, window.layers.candidate)
    for layer in label_layers:
        node = node_of(window.viewer, layer)
        node.visible = layer.visible
        node._need_vertex_update = True
    whole = window.viewer.screenshot(canvas_only=True, flash=False)
    other = (seen != whole).any(axis=-1).sum()
    assert other <= 20, "pixels on the border between two image pixels may show either"
    for layer in label_layers:
        layer.refresh()
    return np.asarray(seen)


def test_the_frame_equals_that_of_whole_layers(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel())
    window.annotator.preview.on = False
    wait_for_empty_layers(window)
    bare = frame(window)
    seen = [bare]

    def changed() -> None:
        seen.append(frame(window))
        assert not np.array_equal(seen[-1], seen[-2])

    window.driver.click(3, 60)  # A disc across the edge of the image.
    window.answered()
    assert drawn(window) == {"Candidate"}
    changed()
    window.driver.key(Qt.Key.Key_M)
    changed()
    window.viewer.scene.camera.zoom *= 0.7
    changed()
    window.driver.key(Qt.Key.Key_Return)
    assert drawn(window) == {"Classes", "Objects"}
    changed()
    window.layers.classes.visible = False
    assert drawn(window) == {"Objects"}
    changed()
    window.layers.classes.visible = True
    assert np.array_equal(frame(window), seen[-2])
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not drawn(window)
    changed()


def test_a_brush_stroke_is_visible_while_it_is_painted(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    wait_for_empty_layers(window)
    bare = frame(window)
    window.driver.press(window.dock.modes.buttons[Mode.BRUSH])
    window.driver.drag([(40, 40), (60, 60)], release=False)
    assert not window.session.document.objects
    assert not np.array_equal(frame(window), bare)
    QTest.mouseRelease(window.driver.native, LEFT, NONE, window.driver.at(60, 60))
    wait_until(lambda: bool(window.session.document.objects), 60, "the stroke")
    window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    window.driver.press(window.dock.modes.buttons[Mode.POINT])
    assert not drawn(window)


def test_a_scribble_is_visible_while_it_is_painted(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    wait_for_empty_layers(window)
    bare = frame(window)
    window.driver.press(window.dock.modes.buttons[Mode.MASK])
    window.driver.drag([(40, 40), (60, 60)], release=False)
    assert drawn(window) == {"Candidate"}
    assert not np.array_equal(frame(window), bare)
    QTest.mouseRelease(window.driver.native, LEFT, NONE, window.driver.at(60, 60))
    window.answered()
    window.driver.key(Qt.Key.Key_Escape)
    assert not drawn(window)


def test_remaining_layers_are_drawn_as_a_whole_after_close(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel())
    wait_for_empty_layers(window)
    classes = window.layers.classes
    window.viewer.window.remove_dock_widget(window.dock)
    wait_until(lambda: "Candidate" not in window.viewer.layers, 60, "the helper layers to be removed")
    bare = window.viewer.screenshot(canvas_only=True, flash=False)
    classes.data[40:60, 40:60] = 1
    classes.refresh()
    assert not np.array_equal(window.viewer.screenshot(canvas_only=True, flash=False), bare)
