"""What is annotated to the end: said in the Objects dock, shaded on the canvas, taken back by undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import wait_until
from qtpy.QtCore import Qt

from napari_sampath.widgets.canvas.area_layer import NAME
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.gui


@pytest.fixture
def opened(open_bench: Callable[..., Any]) -> Callable[..., Any]:
    """Open an image with Annotate and Objects dock."""

    def make(pixels: np.ndarray, **options: Any) -> Any:
        from napari_sampath.widgets.objects.dock import ObjectsDock

        b = open_bench(pixels, DiscModel(), **options)
        objects = ObjectsDock(b.viewer, b.bench)
        b.viewer.window.add_dock_widget(objects, name="Objects", area="right", tabify=True)
        objects.parentWidget().raise_()
        b.area = objects.area
        b.driver.settle()
        return b

    return make


def shaded(b: Any) -> np.ndarray:
    """Which pixels of the layer are dark."""
    return np.asarray(b.viewer.layers[NAME].data) > 0


def test_what_is_not_annotated_is_shaded_as_long_as_that_is_wished(
    opened: Callable[..., Any], tissue: np.ndarray
) -> None:
    b = opened(tissue)
    b.annotator.preview.on = False
    bare = b.viewer.screenshot(canvas_only=True, flash=False)
    active = b.viewer.layers.selection.active
    b.driver.press(b.area.shade)
    assert shaded(b).all()
    assert b.viewer.layers.selection.active is active
    dark = b.viewer.screenshot(canvas_only=True, flash=False)
    tissue_shown = bare[..., :3].max(-1) > 100
    assert dark[tissue_shown][:, :3].mean() < 0.6 * bare[tissue_shown][:, :3].mean()

    b.driver.click(50, 60)
    b.answered()
    b.driver.key(Qt.Key.Key_Return)
    assert np.array_equal(shaded(b), b.layers.objects.data == 0), "what was clicked is annotated"
    b.driver.press(b.area.shade)
    assert NAME not in b.viewer.layers


def test_image_view_and_taken_back(opened: Callable[..., Any], tissue: np.ndarray) -> None:
    b = opened(tissue)
    b.driver.press(b.area.shade)
    b.driver.press(b.area.buttons["image"])
    assert b.session.area.mask().all()
    assert not shaded(b).any()
    assert "Complete" in b.text

    b.viewer.scene.camera.zoom *= 4
    b.driver.press(b.area.buttons["open"])
    seen = ~b.session.area.mask()
    rows, cols = np.nonzero(seen)
    height, width = (np.ptp(rows) + 1, np.ptp(cols) + 1)
    assert seen.sum() == height * width < seen.size / 4, "a box in the middle, as large as the view"
    assert seen[60, 80]
    assert np.array_equal(shaded(b), seen)
    b.driver.press(b.area.buttons["view"])
    assert b.session.area.mask().all()

    for _ in range(3):
        b.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not b.session.area.mask().any()
    assert shaded(b).all()
    b.driver.press(b.area.buttons["image"])
    assert "Complete. Undo" in b.text


def test_objects_of_a_head_are_agreed_with(opened: Callable[..., Any], tissue: np.ndarray) -> None:
    from napari_sampath.arrays import ClassInfo, LocalMask
    from napari_sampath.session.proposals.components import Component, Components

    b = opened(tissue)
    disc = Component(1, LocalMask(10, 10, np.ones((9, 9), bool)), 0.8)
    b.session.propose(Components((disc,), (ClassInfo(1, "gland", (0, 158, 115)),), "a head"))
    assert not b.session.area.mask().any(), "what a head proposed is not annotated yet"
    b.driver.press(b.area.buttons["image"])
    assert "you agreed with 1 object of the head." in b.text
    (record,) = b.session.document.objects.values()
    assert record.reviewed


def test_on_a_large_image_a_pixel_of_the_shade_stands_for_several(opened: Callable[..., Any]) -> None:
    pixels = np.random.default_rng(0).integers(200, 250, (4500, 700, 3), dtype=np.uint8)
    b = opened(pixels)
    b.driver.press(b.area.shade)
    layer = b.viewer.layers[NAME]
    assert layer.data.shape == (1500, 234)
    np.testing.assert_allclose(layer.scale, 3 * b.image.scale)
    wait_until(lambda: bool(shaded(b).all()), 10, "all of it to be shaded")
    b.session.area.mark((300, 90, 600, 330))
    expected = np.ones((1500, 234), bool)
    expected[100:200, 30:110] = False
    assert np.array_equal(shaded(b), expected)
    b.session.area.mark((4497, 699, 4500, 700))
    expected[-1, -1] = False
    wait_until(lambda: np.array_equal(shaded(b), expected), 10, "the corner")
