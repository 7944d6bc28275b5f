"""Scale bar, magnification and ruler, from the pixel size of the image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from benchmarks.gui_driver import SHIFT, GuiDriver, wait_until
from qtpy.QtCore import Qt

from napari_sampath.widgets.annotate.dock import AnnotateDock
from napari_sampath.widgets.canvas.napari_internals.scale_bar import drawn_scale_bars, scale_bar
from napari_sampath.widgets.canvas.overlays.orientation import (
    describe,
    describe_length,
    scan_magnification,
)
from napari_sampath.widgets.canvas.viewport import camera
from napari_sampath.widgets.viewer.tools.object_tools import Tool
from napari_sampath.widgets.viewer.viewer_state import ViewerState
from support.models.discs import DiscModel, loader

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.gui


@pytest.mark.parametrize(
    ("mpp", "text"),
    [
        (0.25, "40x"),
        (0.2277, "40x"),
        (0.499, "20x"),
        (1.01, "10x"),
        (0.37, "27x"),
        (4.0, "2.5x"),
        (0.12, "80x"),
    ],
)
def test_the_magnification_follows_from_the_pixel_size(mpp: float, text: str) -> None:
    assert describe(scan_magnification(mpp)) == text


@pytest.mark.parametrize(
    ("mpp", "text"), [(None, "50.0 px"), (0.5, "25.0 um (50.0 px)"), (30.0, "1.50 mm (50 px)")]
)
def test_lengths_are_in_micrometres_if_the_image_states_its_pixel_size(mpp: float | None, text: str) -> None:
    assert describe_length((10, 10), (40, 50), mpp) == text


def test_scale_bar_and_magnification_follow_image_and_zoom(
    open_window: Callable[..., Any], tissue: np.ndarray
) -> None:
    window = open_window(tissue, DiscModel(), scale=(0.5, 0.5), units=("um", "um"))
    viewer, orientation = window.viewer, window.state.orientation
    assert scale_bar(viewer).visible
    camera(viewer).zoom = 2.0  # 2 canvas pixels per um: 0.5 um per canvas pixel is 20x
    assert orientation.text == "20x, view 20x"
    changes: list[str] = []
    orientation.changed.connect(lambda: changes.append(orientation.text))
    camera(viewer).zoom = 1.0
    assert changes[-1] == "20x, view 10x"
    assert "0.5 um per pixel" in orientation.hint
    scale_bar(viewer).visible = False
    plain = viewer.add_image(np.ascontiguousarray(tissue[::-1]), name="without mpp")
    wait_until(lambda: window.state.image is plain and window.state.ready, 60, "the second image")
    assert orientation.text == "pixel size unknown"
    assert not scale_bar(viewer).visible, "the user has hidden it"


def test_the_pixel_size_of_the_file_is_used(viewer: Any, tissue: np.ndarray, tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "scan.tif"
    Image.fromarray(tissue).save(file, dpi=(50800, 50800))  # 0.5 um per pixel
    dock = AnnotateDock(viewer, ViewerState(viewer, load_model=loader(DiscModel())))
    viewer.window.add_dock_widget(dock, name="Annotate", area="right")
    viewer.open(str(file), plugin="napari")
    wait_until(lambda: dock.state.ready, 60, "the image")
    assert dock.state.orientation.text.startswith("20x, view ")
    driver = GuiDriver(viewer, dock.state.image)
    driver.settle()
    driver.press(dock.tools.buttons[Tool.MEASURE])
    driver.drag([(20, 30), (140, 30)])
    assert " um (" in dock.status.message.text()
    (drawn,) = drawn_scale_bars(viewer)
    wait_until(lambda: drawn.node.text.text.endswith("\u00b5m"), 60, "the unit of the scale bar")
    camera(viewer).zoom = 3.0  # A canvas pixel is 1/3 pixel of the image.
    length_um = float(drawn.node.text.text.split()[0])
    names = "_canvas_length", "_current_length", "x_size"  # napari 0.10, 0.8 and 0.6
    length_px = next(getattr(drawn, name) for name in names if hasattr(drawn, name))
    assert length_px == pytest.approx(3.0 * length_um / 0.5)
    viewer.add_image(np.ascontiguousarray(tissue[::-1]), name="without mpp")
    wait_until(
        # napari 0.6 draws a new scale bar for a new layer.
        lambda: not drawn_scale_bars(viewer)[0].node.text.text.endswith("\u00b5m"),
        60,
        "the scale bar of the second image",
    )


def test_the_ruler_measures_a_distance(open_window: Callable[..., Any], tissue: np.ndarray) -> None:
    window = open_window(tissue, DiscModel(), scale=(0.5, 0.5), units=("um", "um"))
    driver, tools = window.driver, window.annotator.tools
    for how, length in {"key": 120, "drag": 110, "clicks": 100}.items():
        if how == "key":
            for x in (20, 20 + length):
                driver.move(x, 30)
                driver.key(Qt.Key.Key_R, SHIFT)
        else:
            driver.press(window.dock.tools.buttons[Tool.MEASURE])
            if how == "drag":
                driver.drag([(20, 30), (20 + length, 30)])
            else:
                driver.click(20, 30)
                driver.click(20 + length, 30)
        value = float(window.text.removeprefix("Distance: ").split(" um")[0])
        assert value == pytest.approx(length / 2, abs=1), window.text
        assert tools.highlight.frames == 1, "the line stays"
        assert not window.session.document.objects
        assert window.session.prompts.state.empty
        driver.key(Qt.Key.Key_Escape)
        assert tools.highlight.frames == 0
        driver.key(Qt.Key.Key_Escape)
