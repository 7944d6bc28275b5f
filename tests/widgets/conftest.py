"""A viewer on the screen, a check that nothing is left behind, and models quick enough for tests."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from discs import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def imports_apart() -> None:
    """Keep what importing made out of the searches for garbage, of which there are several after each window."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def viewers(make_napari_viewer: Callable[..., Any], qtbot: Any, imports_apart: None) -> Callable[[], Any]:
    """Make viewers that are shown, 1280 x 800."""

    def make() -> Any:
        viewer = make_napari_viewer(show=True)
        viewer.window._qt_window.resize(1280, 800)
        qtbot.waitExposed(viewer.window._qt_window)
        return viewer

    return make


@pytest.fixture
def viewer(viewers: Callable[[], Any]) -> Any:
    """One viewer on the screen."""
    return viewers()


@pytest.fixture
def tissue() -> np.ndarray:
    """(120, 160, 3) uint8 with two dark discs on a pale ground, at (x, y) = (50, 60) and (115, 60), radius
    20."""
    rows, cols = np.mgrid[:120, :160]
    image = np.full((120, 160, 3), (240, 215, 230), np.uint8)
    image += np.random.default_rng(0).integers(0, 12, image.shape, dtype=np.uint8)
    for x in (50, 115):
        image[(rows - 60) ** 2 + (cols - x) ** 2 <= 20**2] = (110, 60, 140)
    return image


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a window or one of our threads behind."""
    if not request.node.get_closest_marker("gui"):
        yield
        return
    from qtpy.QtWidgets import QApplication

    before = set(map(id, QApplication.topLevelWidgets()))
    yield
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        QApplication.processEvents()
        gc.collect()
        threads = [one.name for one in threading.enumerate() if one.name.startswith("sampath-")]
        left = [
            widget
            for widget in QApplication.topLevelWidgets()
            if id(widget) not in before and widget.isVisible()
        ]
        if not threads and not left:
            return
        time.sleep(0.02)
    pytest.fail(
        f"left behind: threads {threads}, windows {[(type(one).__name__, one.objectName()) for one in left]}"
    )


@dataclass
class Bench:
    """A viewer with the Annotate dock on it, an image that is ready for clicks, and a hand to click."""

    viewer: Any
    dock: Any
    image: Any
    robot: Any
    model: Any

    @property
    def bench(self) -> Any:
        return self.dock.bench

    @property
    def annotator(self) -> Any:
        return self.dock.bench.annotator

    @property
    def session(self) -> Any:
        return self.annotator.session

    @property
    def layers(self) -> Any:
        return self.annotator.layers

    @property
    def text(self) -> str:
        return str(self.dock.status.message.text())

    def answered(self) -> None:
        """Wait until every prompt is answered and painted."""
        from napari_sampath.widgets.robot import wait_until

        wait_until(lambda: self.bench.prompts.idle, 20, "the prompt worker")


@pytest.fixture
def open_bench(viewers: Callable[[], Any]) -> Callable[..., Bench]:
    """Open an image in a viewer with the Annotate dock; by default wait until it is encoded."""

    def opened(pixels: np.ndarray, model: Any, ready: bool = True, **image: Any) -> Bench:
        from napari_sampath.widgets.annotate import AnnotateDock
        from napari_sampath.widgets.robot import Robot, wait_until
        from napari_sampath.widgets.workbench import Workbench

        viewer = viewers()
        dock = AnnotateDock(viewer, Workbench(viewer, load_model=loader(model)))
        viewer.window.add_dock_widget(dock, name="Annotate", area="right")
        layer = viewer.add_image(pixels, name=image.pop("name", "tissue"), **image)
        if ready:
            wait_until(lambda: dock.bench.ready, 120, "the image to be encoded")
        robot = Robot(viewer, layer)
        robot.settle()
        return Bench(viewer, dock, layer, robot, model)

    return opened
