"""The verified area: marked in the Objects dock, shaded on the canvas, undone."""

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
def opened(open_window: Callable[..., Any]) -> Callable[..., Any]:
    """Open an image with Annotate and Objects dock."""

    def make(pixels: np.ndarray, **options: Any) -> Any:
        from napari_sampath.widgets.objects.dock import ObjectsDock

        window = open_window(pixels, DiscModel(), **options)
        objects = ObjectsDock(window.viewer, window.state)
        window.viewer.window.add_dock_widget(objects, name="Objects", area="right", tabify=True)
        objects.parentWidget().raise_()
        window.area = objects.area
        window.driver.settle()
        return window

    return make


def shaded(window: Any) -> np.ndarray:
    """Which pixels of the layer are dark."""
    return np.asarray(window.viewer.layers[NAME].data) > 0


def test_the_unverified_area_is_shaded_while_the_check_box_is_set(
    opened: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = opened(tissue)
    window.annotator.preview.on = False
    bare = window.viewer.screenshot(canvas_only=True, flash=False)
    active = window.viewer.layers.selection.active
    window.driver.press(window.area.shade)
    assert shaded(window).all()
    assert window.viewer.layers.selection.active is active
    dark = window.viewer.screenshot(canvas_only=True, flash=False)
    tissue_shown = bare[..., :3].max(-1) > 100
    assert dark[tissue_shown][:, :3].mean() < 0.6 * bare[tissue_shown][:, :3].mean()

    window.driver.click(50, 60)
    window.answered()
    window.driver.key(Qt.Key.Key_Return)
    assert np.array_equal(shaded(window), window.layers.objects.data == 0), "committed objects are verified"
    window.driver.press(window.area.shade)
    assert NAME not in window.viewer.layers


def test_verify_the_image_and_the_view_and_reopen(opened: Callable[..., Any], tissue: np.ndarray) -> None:
    window = opened(tissue)
    window.driver.press(window.area.shade)
    window.driver.press(window.area.buttons["image"])
    assert window.session.area.mask().all()
    assert not shaded(window).any()
    assert "Marked as verified" in window.text

    window.viewer.scene.camera.zoom *= 4
    window.driver.press(window.area.buttons["reopen"])
    seen = ~window.session.area.mask()
    rows, cols = np.nonzero(seen)
    height, width = (np.ptp(rows) + 1, np.ptp(cols) + 1)
    assert seen.sum() == height * width < seen.size / 4, "a box in the middle, as large as the view"
    assert seen[60, 80]
    assert np.array_equal(shaded(window), seen)
    window.driver.press(window.area.buttons["view"])
    assert window.session.area.mask().all()

    for _ in range(3):
        window.driver.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not window.session.area.mask().any()
    assert shaded(window).all()
    window.driver.press(window.area.buttons["image"])
    assert "Marked as verified. Undo" in window.text


def test_verifying_includes_the_objects_of_a_head(opened: Callable[..., Any], tissue: np.ndarray) -> None:
    from napari_sampath.arrays import ClassInfo, LocalMask
    from napari_sampath.session.proposals.new_objects import NewObject, NewObjects

    window = opened(tissue)
    disc = NewObject(1, LocalMask(10, 10, np.ones((9, 9), bool)), 0.8)
    window.session.proposals.replace(
        NewObjects((disc,), (ClassInfo(1, "gland", (0, 158, 115)),), "a head")
    ).apply()
    assert not window.session.area.mask().any(), "objects of a head are not verified yet"
    window.driver.press(window.area.buttons["image"])
    assert "1 proposal accepted." in window.text
    (record,) = window.session.document.objects.values()
    assert record.reviewed


def test_the_shade_of_a_large_image_has_a_lower_resolution(opened: Callable[..., Any]) -> None:
    pixels = np.random.default_rng(0).integers(200, 250, (4500, 700, 3), dtype=np.uint8)
    window = opened(pixels)
    window.driver.press(window.area.shade)
    layer = window.viewer.layers[NAME]
    assert layer.data.shape == (1500, 234)
    np.testing.assert_allclose(layer.scale, 3 * window.image.scale)
    wait_until(lambda: bool(shaded(window).all()), 60, "all of it to be shaded")
    window.session.area.mark((300, 90, 600, 330))
    expected = np.ones((1500, 234), bool)
    expected[100:200, 30:110] = False
    assert np.array_equal(shaded(window), expected)
    window.session.area.mark((4497, 699, 4500, 700))
    expected[-1, -1] = False
    wait_until(lambda: np.array_equal(shaded(window), expected), 60, "the corner")
