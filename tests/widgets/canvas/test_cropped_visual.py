"""Of a layer only the box that holds something is drawn, and the picture is the same as if all of it were."""

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


def empty_left_out(b: Any) -> None:
    wait_until(lambda: not drawn(b), 10, "empty layers to be left out")


def drawn(b: Any) -> set[str]:
    """Names of the label layers, and that of boxes, that are drawn at all."""
    layers = (b.layers.classes, b.layers.objects, b.layers.candidate, b.layers.box)
    return {layer.name for layer in layers if node_of(b.viewer, layer).visible}


def picture(b: Any) -> np.ndarray:
    """What is seen, which must be what is seen if napari draws all of its layers."""
    seen = b.viewer.screenshot(canvas_only=True, flash=False)
    label_layers = (b.layers.classes, b.layers.objects, b.layers.candidate)
    for layer in label_layers:
        node = node_of(b.viewer, layer)
        node.visible = layer.visible
        node._need_vertex_update = True
    whole = b.viewer.screenshot(canvas_only=True, flash=False)
    other = (seen != whole).any(axis=-1).sum()
    assert other <= 20, "a few lie between two pixels of the image, and may show either"
    for layer in label_layers:
        layer.refresh()
    return np.asarray(seen)


def test_the_picture_is_that_of_all_layers(open_bench: Callable[..., Any], tissue: np.ndarray) -> None:
    b = open_bench(tissue, DiscModel())
    b.annotator.preview.on = False
    empty_left_out(b)
    bare = picture(b)
    seen = [bare]

    def changed() -> None:
        seen.append(picture(b))
        assert not np.array_equal(seen[-1], seen[-2])

    b.driver.click(3, 60)  # A disc that reaches over the edge of the image.
    b.answered()
    assert drawn(b) == {"Candidate"}
    changed()
    b.driver.key(Qt.Key.Key_M)
    changed()
    b.viewer.scene.camera.zoom *= 0.7
    changed()
    b.driver.key(Qt.Key.Key_Return)
    assert drawn(b) == {"Classes", "Objects"}
    changed()
    b.layers.classes.visible = False
    assert drawn(b) == {"Objects"}
    changed()
    b.layers.classes.visible = True
    assert np.array_equal(picture(b), seen[-2])
    b.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not drawn(b)
    changed()


def test_a_brush_is_seen_while_it_paints(open_bench: Callable[..., Any], tissue: np.ndarray) -> None:
    b = open_bench(tissue, DiscModel())
    empty_left_out(b)
    bare = picture(b)
    b.driver.press(b.dock.modes.buttons[Mode.BRUSH])
    b.driver.drag([(40, 40), (60, 60)], release=False)
    assert not b.session.document.objects
    assert not np.array_equal(picture(b), bare)
    QTest.mouseRelease(b.driver.native, LEFT, NONE, b.driver.at(60, 60))
    wait_until(lambda: bool(b.session.document.objects), 10, "the stroke")
    b.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    b.driver.press(b.dock.modes.buttons[Mode.POINT])
    assert not drawn(b)


def test_a_scribble_is_seen_while_it_is_painted(open_bench: Callable[..., Any], tissue: np.ndarray) -> None:
    b = open_bench(tissue, DiscModel())
    empty_left_out(b)
    bare = picture(b)
    b.driver.press(b.dock.modes.buttons[Mode.MASK])
    b.driver.drag([(40, 40), (60, 60)], release=False)
    assert drawn(b) == {"Candidate"}
    assert not np.array_equal(picture(b), bare)
    QTest.mouseRelease(b.driver.native, LEFT, NONE, b.driver.at(60, 60))
    b.answered()
    b.driver.key(Qt.Key.Key_Escape)
    assert not drawn(b)


def test_layers_that_stay_are_drawn_by_napari_again(
    open_bench: Callable[..., Any], tissue: np.ndarray
) -> None:
    b = open_bench(tissue, DiscModel())
    empty_left_out(b)
    classes = b.layers.classes
    b.viewer.window.remove_dock_widget(b.dock)
    wait_until(lambda: "Candidate" not in b.viewer.layers, 10, "the helper layers to go")
    bare = b.viewer.screenshot(canvas_only=True, flash=False)
    classes.data[40:60, 40:60] = 1
    classes.refresh()
    assert not np.array_equal(b.viewer.screenshot(canvas_only=True, flash=False), bare)
