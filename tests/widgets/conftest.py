"""Viewers for GUI tests, and a check that a test leaves nothing behind in them."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from support.models.discs import loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = (1280, 800)
"""Width and height of the windows: the smallest in which the docks must fit."""
SMALL = (1100, 700)
"""Width and height with `small_window`; without a graphics card, the time to draw a window grows with its area."""
PASSED = pytest.StashKey[bool]()


class ViewerPool:
    """Pool of visible viewers of one size, reused by tests because opening and closing one takes seconds.

    A test that does not leave its viewer as it was when it was opened fails.
    """

    def __init__(self) -> None:
        self.size = SIZE
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
        viewer.window._qt_window.resize(*self.size)
        viewer.theme = "dark"  # An earlier test may have changed it.
        return viewer

    def empty(self) -> None:
        """Remove the plugin's docks and all layers from the viewers in use."""
        from qtpy.QtWidgets import QDockWidget

        from napari_sampath.widgets.canvas.napari_internals.napari_canvas import make_context_current
        from napari_sampath.widgets.common.removable import Removable

        for viewer in self._taken:
            if hasattr(viewer.window, "_qt_window"):
                for dock in viewer.window._qt_window.findChildren(QDockWidget):
                    if isinstance(dock.widget(), Removable):
                        viewer.window.remove_dock_widget(dock)
                make_context_current(viewer)
                viewer.layers.clear()

    def give_back(self) -> None:
        """Return the viewers in use to the pool; fail if one has changed."""
        for viewer in self._taken:
            if not hasattr(viewer.window, "_qt_window"):
                continue
            now, new = hooks_of(viewer), self._new[id(viewer)]
            changed = {name: (new[name], value) for name, value in now.items() if value != new[name]}
            if changed:
                self.close()  # The next test starts with a new viewer.
                pytest.fail(f"left behind in the viewer (new, now): {changed}")
            if self._idle:
                viewer.close()  # A second window would take the focus of the first.
            else:
                self._idle.append(viewer)
        self._taken.clear()

    def close(self) -> None:
        """Close all viewers, including those in use."""
        for viewer in self._idle + self._taken:
            viewer.close()
        self._idle.clear()
        self._taken.clear()
        gc.collect()


def _add_scene() -> None:
    """Let tests use `viewer.scene`, to which napari 0.9 moved the camera and the overlays, with earlier versions."""
    from napari.components import ViewerModel

    if "scene" not in getattr(ViewerModel, "model_fields", {}) and not hasattr(ViewerModel, "scene"):
        ViewerModel.scene = property(lambda viewer: viewer)


def once_per_function(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Remember the result for each function: napari inspects thousands of signatures whenever layers are added."""
    from napari.utils.events.event import EmitterGroup, EventEmitter

    results: dict[Any, bool] = {}

    def remembered(callback: Any) -> bool:
        if isinstance(callback, MethodType):
            key: Any = callback.__func__
        elif isinstance(callback, FunctionType) and not hasattr(callback, "__wrapped__"):
            key = callback.__code__  # napari defines the same closures anew for each layer.
        elif isinstance(callback, EmitterGroup | EventEmitter):
            key = type(callback)
        else:
            return check(callback)
        if key not in results:
            results[key] = check(callback)
        return results[key]

    return remembered


def hooks_of(viewer: Any) -> dict[str, Any]:
    """Return the state of a viewer that docks change while they are open."""
    return {
        "keys": dict(viewer.keymap),
        "drag": list(viewer.mouse_drag_callbacks),
        "move": list(viewer.mouse_move_callbacks),
        "wheel": list(viewer.mouse_wheel_callbacks),
        "double": list(viewer.mouse_double_click_callbacks),
        "cursor": viewer.cursor.style,
        "pan": viewer.scene.camera.mouse_pan,
        "zoom": viewer.scene.camera.mouse_zoom,
        "overlays": set(viewer.scene.overlays if hasattr(viewer.scene, "overlays") else viewer._overlays),
    }


@pytest.fixture(scope="session")
def screen(qapp: Any) -> Iterator[ViewerPool]:
    """The pool of viewers for all tests."""
    from napari._qt.threads.status_checker import StatusChecker
    from napari.utils.events.event import EventEmitter

    from napari_sampath.widgets.canvas.napari_internals import cropped_visual

    _add_scene()
    screen = ViewerPool()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StatusChecker, "start", lambda _checker: None)
        patch.setattr(cropped_visual, "FIRST_MS", 0)
        patch.setattr(
            EventEmitter, "_check_signature", staticmethod(once_per_function(EventEmitter._check_signature))
        )
        yield screen
        screen.close()


@pytest.fixture(autouse=True)
def label_window_px(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the maximum side of label layers to that of the option `--label-window`."""
    side = request.config.getoption("--label-window")
    if side is not None:
        from napari_sampath.widgets.canvas.windows import label_window

        monkeypatch.setattr(label_window, "WHOLE_PX", side)


@pytest.fixture
def small_window(screen: ViewerPool) -> Iterator[None]:
    """Viewers of `SMALL`."""
    screen.size = SMALL
    yield
    screen.size = SIZE


@pytest.fixture
def viewers(screen: ViewerPool, qtbot: Any) -> Callable[[], Any]:
    """Factory of visible viewers, of `SIZE` or as `small_window` sets it."""

    def make() -> Any:
        viewer = screen.take()
        qtbot.waitExposed(viewer.window._qt_window)
        return viewer

    return make


@pytest.fixture
def viewer(viewers: Callable[[], Any]) -> Any:
    """One visible viewer."""
    return viewers()


@pytest.fixture
def tissue() -> np.ndarray:
    """(120, 160, 3) uint8: two dark discs of radius 20 on a pale background, at (x, y) = (50, 60) and (115, 60)."""
    rows, cols = np.mgrid[:120, :160]
    image = np.full((120, 160, 3), (240, 215, 230), np.uint8)
    image += np.random.default_rng(0).integers(0, 12, image.shape, dtype=np.uint8)
    for x in (50, 115):
        image[(rows - 60) ** 2 + (cols - x) ** 2 <= 20**2] = (110, 60, 140)
    return image


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Record for fixtures whether the test passed."""
    report: Any = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a window, a thread of the plugin, or a change in a viewer."""
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
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        qtbot.wait(20)  # Qt deletes objects in the event loop only.
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("sampath-")]
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
            f"windows {[(type(widget).__name__, widget.objectName()) for widget in left]}"
        )
    screen.give_back()
    # Keep lasting objects out of garbage collections, of which napari starts one whenever layers are removed.
    gc.collect()
    gc.freeze()


def is_viewer(widget: Any) -> bool:
    """Return True for napari's own window."""
    from napari._qt.qt_main_window import _QtMainWindow

    return isinstance(widget, _QtMainWindow)


@dataclass
class AnnotatedViewer:
    """A viewer with the Annotate dock, an image that is ready for clicks, and a driver for real events."""

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

        wait_until(lambda: self.state.prompts.idle, 60, "the prompt worker")


@pytest.fixture
def open_window(viewers: Callable[[], Any]) -> Callable[..., AnnotatedViewer]:
    """Open an image in a viewer with the Annotate dock; by default wait until it is encoded."""

    def opened(pixels: np.ndarray, model: Any, ready: bool = True, **image: Any) -> AnnotatedViewer:
        from benchmarks.gui_driver import GuiDriver, wait_until

        from napari_sampath.widgets.annotate.dock import AnnotateDock
        from napari_sampath.widgets.viewer.viewer_state import ViewerState

        viewer = viewers()
        window = viewer.window._qt_window
        window.setUpdatesEnabled(not ready)  # Paint the result, not each step.
        dock = AnnotateDock(viewer, ViewerState(viewer, load_model=loader(model)))
        viewer.window.add_dock_widget(dock, name="Annotate", area="right")
        layer = viewer.add_image(pixels, name=image.pop("name", "tissue"), **image)
        if ready:
            wait_until(lambda: dock.state.ready, 120, "the image to be encoded")
        window.setUpdatesEnabled(True)
        driver = GuiDriver(viewer, layer)
        driver.settle()
        return AnnotatedViewer(viewer, dock, layer, driver, model)

    return opened
