"""A viewer on the screen, a check that nothing is left behind, and models quick enough for tests."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from support.models.discs import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSED = pytest.StashKey[bool]()


class Screen:
    """Viewers on the screen, 1280 x 800, handed from test to test: to open and to close one takes seconds.

    Each is given back as it was when it was opened, or the test that had it fails.
    """

    def __init__(self) -> None:
        self._idle: list[Any] = []
        self._taken: list[Any] = []
        self._new: dict[int, dict[str, Any]] = {}

    def take(self) -> Any:
        """Return a viewer without layers and docks."""
        from napari import Viewer

        if self._idle:
            viewer = self._idle.pop()
        else:
            viewer = Viewer(show=True)
            self._new[id(viewer)] = hooks_of(viewer)
        self._taken.append(viewer)
        viewer.window._qt_window.resize(1280, 800)
        viewer.theme = "dark"  # Whatever the test before looked at.
        return viewer

    def empty(self) -> None:
        """Take our docks and all layers out of the viewers that are in use."""
        from qtpy.QtWidgets import QDockWidget

        from napari_sampath.widgets.canvas.napari_internals.napari_canvas import make_context_current
        from napari_sampath.widgets.common.base_dock import Dock

        for viewer in self._taken:
            if hasattr(viewer.window, "_qt_window"):
                for one in viewer.window._qt_window.findChildren(QDockWidget):
                    if isinstance(one.widget(), Dock):
                        viewer.window.remove_dock_widget(one)
                make_context_current(viewer)
                viewer.layers.clear()

    def give_back(self) -> None:
        """Have the viewers in use ready for the next test."""
        for viewer in self._taken:
            if not hasattr(viewer.window, "_qt_window"):
                continue
            now, new = hooks_of(viewer), self._new[id(viewer)]
            changed = {name: (new[name], value) for name, value in now.items() if value != new[name]}
            if changed:
                self.close()  # The next test begins with a new one.
                pytest.fail(f"left behind in the viewer (new, now): {changed}")
            if self._idle:
                viewer.close()  # A second window would take the first one's focus.
            else:
                self._idle.append(viewer)
        self._taken.clear()

    def close(self) -> None:
        """Close all viewers, those in use, too."""
        for viewer in self._idle + self._taken:
            viewer.close()
        self._idle.clear()
        self._taken.clear()
        gc.collect()


def hooks_of(viewer: Any) -> dict[str, Any]:
    """What docks may change in a viewer as long as they are there."""
    return {
        "keys": dict(viewer.keymap),
        "drag": list(viewer.mouse_drag_callbacks),
        "move": list(viewer.mouse_move_callbacks),
        "wheel": list(viewer.mouse_wheel_callbacks),
        "double": list(viewer.mouse_double_click_callbacks),
        "cursor": viewer.cursor.style,
        "pan": viewer.scene.camera.mouse_pan,
        "zoom": viewer.scene.camera.mouse_zoom,
        "overlays": set(viewer.scene.overlays),
    }


@pytest.fixture(scope="session")
def screen(qapp: Any) -> Iterator[Screen]:
    """The viewers of all tests."""
    from napari._qt.threads.status_checker import StatusChecker

    from napari_sampath.widgets.canvas.napari_internals import cropped_visual as drawn

    screen = Screen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StatusChecker, "start", lambda _checker: None)
        patch.setattr(drawn, "FIRST_MS", 0)
        yield screen
        screen.close()


@pytest.fixture
def viewers(screen: Screen, qtbot: Any) -> Callable[[], Any]:
    """Make viewers that are shown, 1280 x 800."""

    def make() -> Any:
        viewer = screen.take()
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Tell fixtures whether the test passed."""
    report: Any = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a window, one of our threads, or anything of a dock in a viewer."""
    if not request.node.get_closest_marker("gui"):
        yield
        return
    from qtpy.QtWidgets import QApplication

    screen, qtbot = request.getfixturevalue("screen"), request.getfixturevalue("qtbot")
    before = set(map(id, QApplication.topLevelWidgets()))
    yield
    if not request.node.stash.get(PASSED, False):
        screen.close()
        return
    screen.empty()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        qtbot.wait(20)  # Qt deletes what was given up in an event loop only.
        threads = [one.name for one in threading.enumerate() if one.name.startswith("sampath-")]
        left = [
            widget
            for widget in QApplication.topLevelWidgets()
            if id(widget) not in before and widget.isVisible() and not is_viewer(widget)
        ]
        if not threads and not left:
            break
    else:
        screen.close()
        pytest.fail(
            f"left behind: threads {threads}, "
            f"windows {[(type(one).__name__, one.objectName()) for one in left]}"
        )
    screen.give_back()
    # What is there to stay is kept out of the searches for garbage, of which napari makes one whenever layers go.
    gc.collect()
    gc.freeze()


def is_viewer(widget: Any) -> bool:
    """Whether a window is napari's own."""
    from napari._qt.qt_main_window import _QtMainWindow

    return isinstance(widget, _QtMainWindow)


@dataclass
class AnnotatedViewer:
    """A viewer with the Annotate dock on it, an image that is ready for clicks, and a hand to click."""

    viewer: Any
    dock: Any
    image: Any
    driver: Any
    model: Any

    @property
    def state(self) -> Any:
        return self.dock.state

    @property
    def annotator(self) -> Any:
        return self.dock.state.annotator

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
        from benchmarks.gui_driver import wait_until

        wait_until(lambda: self.state.prompts.idle, 20, "the prompt worker")


@pytest.fixture
def open_window(viewers: Callable[[], Any]) -> Callable[..., AnnotatedViewer]:
    """Open an image in a viewer with the Annotate dock; by default wait until it is encoded."""

    def opened(pixels: np.ndarray, model: Any, ready: bool = True, **image: Any) -> AnnotatedViewer:
        from benchmarks.gui_driver import GuiDriver, wait_until

        from napari_sampath.widgets.annotate.dock import AnnotateDock
        from napari_sampath.widgets.viewer.viewer_state import ViewerState

        viewer = viewers()
        dock = AnnotateDock(viewer, ViewerState(viewer, load_model=loader(model)))
        viewer.window.add_dock_widget(dock, name="Annotate", area="right")
        layer = viewer.add_image(pixels, name=image.pop("name", "tissue"), **image)
        if ready:
            wait_until(lambda: dock.state.ready, 120, "the image to be encoded")
        driver = GuiDriver(viewer, layer)
        driver.settle()
        return AnnotatedViewer(viewer, dock, layer, driver, model)

    return opened
