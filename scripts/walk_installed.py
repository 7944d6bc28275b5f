"""Use the installed package as a person does: open the panel from napari's menu and the sample, click, commit and quit.

    python walk_installed.py [SCREENSHOT]

Imports nothing from the repository. `scripts/try_package.py` runs it in new environments.
"""

from __future__ import annotations

import importlib.metadata
import sys
import time
from collections.abc import Callable
from typing import Any

import napari
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtGui import QAction
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMenu

import napari_sampath

TIMEOUT_S = 600


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """Process events until the condition holds; return its value."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise SystemExit(f"Waited {TIMEOUT_S} s for {what}.")
        QApplication.processEvents()
        time.sleep(0.02)
    return value


def wait_for_layout(canvas: Any) -> None:
    """Wait until the size of the canvas stays the same, so that a click meets the pixel it is aimed at."""
    size, since = (0, 0), time.monotonic()

    def is_stable() -> bool:
        nonlocal size, since
        if (canvas.width(), canvas.height()) != size:
            size, since = (canvas.width(), canvas.height()), time.monotonic()
        return min(size) > 100 and time.monotonic() - since > 1

    wait_until(is_stable, "the layout of the window")


def find_action(menus: list[QMenu], *titles: str) -> QAction | None:
    """Return the action that is reached by these titles of menus, without their shortcuts and dots."""
    for menu in menus:
        menu.aboutToShow.emit()
        for action in menu.actions():
            text = action.text().replace("&&", "\0").replace("&", "").replace("\0", "&")
            if not text.startswith(titles[0]):
                continue
            if len(titles) == 1:
                return action
            if action.menu() is not None and (found := find_action([action.menu()], *titles[1:])):
                return found
    return None


def widget_of(viewer: Any, name: str) -> Any:
    """Return the widget of a class inside the window of a viewer; None if there is none."""
    window = viewer.window._qt_window
    return next((child for child in window.findChildren(object) if type(child).__name__ == name), None)


def walk(viewer: Any, screenshot: str | None) -> None:
    """Open the panel and the sample, click on the tissue, and commit the object."""
    bar = viewer.window._qt_window.menuBar()
    menus = [action.menu() for action in bar.actions() if action.menu() is not None]
    plugins = next(menu for menu in menus if menu.title().replace("&", "") == "Plugins")
    action = find_action([plugins], "SamPath", "SamPath") or find_action([plugins], "SamPath")
    if action is None:
        raise SystemExit("'Plugins > SamPath' is not in the menu.")
    action.trigger()
    panel = wait_until(lambda: widget_of(viewer, "SamPathPanel"), "the panel")
    viewer.open_sample("napari-sampath", "h_and_e")
    wait_until(lambda: len(viewer.layers) > 0, "the sample image")
    image = viewer.layers[0]
    wait_until(lambda: panel.state.annotator is not None, "the session of the image")
    canvas = viewer.window._qt_viewer.canvas
    wait_for_layout(canvas.native)
    viewer.reset_view()
    QApplication.processEvents()
    row, col = image.data_to_world((512, 512))[-2:]
    x, y, _, w = (canvas.view.transform * canvas.view.scene.transform).map([col, row, 0, 1])
    position = QPoint(round(float(x / w)), round(float(y / w)))
    QTest.mouseMove(canvas.native, position)
    QApplication.processEvents()
    QTest.mouseClick(canvas.native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, position)
    canvas.native.setFocus()
    # Commits wait for the model and the mask.
    QTest.keyClick(canvas.native, Qt.Key.Key_Return)
    wait_until(lambda: panel.state.session.document.objects, "the committed object")
    if screenshot:
        viewer.screenshot(screenshot, canvas_only=False, flash=False)


def main() -> int:
    """Run the walk; return the exit code."""
    sys.stdout.write(f"{napari_sampath.__file__}, {napari_sampath.__version__}\n")
    for name in ("napari", "npe2", "PyQt6", "PySide6", "torch"):
        try:
            sys.stdout.write(f"{name} {importlib.metadata.version(name)}\n")
        except importlib.metadata.PackageNotFoundError:
            continue
    begin = time.perf_counter()
    viewer = napari.Viewer()
    failure: list[BaseException] = []

    def run() -> None:
        try:
            walk(viewer, sys.argv[1] if len(sys.argv) > 1 else None)
        except (Exception, SystemExit) as error:  # noqa: BLE001, raised again below
            failure.append(error)
        finally:
            viewer.close()

    QTimer.singleShot(0, run)
    napari.run()
    if failure:
        raise failure[0]
    seconds = time.perf_counter() - begin
    sys.stdout.write(
        f"Opened the panel and the sample, clicked, committed one object and quit, {seconds:.0f} s after the start.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
