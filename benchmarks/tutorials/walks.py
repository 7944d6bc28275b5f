"""Actions that the tutorials share: tabs, buttons, prompts and waiting."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psutil
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLineEdit

from napari_sampath.widgets.panel.panel import TABS, SamPathPanel

from ..demo.walk import TIMEOUT_S, StepError, Walk
from ..gui_driver import LEFT, NONE, wait_until
from .recorder import Recorder, RecordingDriver

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_sampath.widgets.viewer.viewer_state import ViewerState


class Tutorial(Walk):
    """A tutorial in the panel, which fails at the first step that does not work.

    Args:
        viewer: The viewer.
        state: State of the viewer.
        output: Folder of the pictures.
        work: Folder for projects and exported files.
    """

    def __init__(self, viewer: Viewer, state: ViewerState, output: Path, work: Path) -> None:
        super().__init__(viewer, state, output)
        self.work = work
        self.recorder = Recorder(viewer, output)
        self.actions = 0
        """Number of presses, clicks, choices and typed names so far."""
        self.first_object: tuple[float, int] | None = None
        """Seconds from the start of the process to the first committed object, and actions up to it."""
        self.panel = SamPathPanel(viewer, state)
        viewer.window.add_dock_widget(self.panel, name="SamPath", area="right")

    def run(self, until: str | None = None) -> None:
        """Run all steps, or those up to the one with a title."""
        for title, action in self.plan():
            print(f"{title}: {action()}", flush=True)
            if title == until:
                return

    def message_of(self, title: str) -> str:
        """Return the message of a tab."""
        dock: Any = self.panel.docks[title]
        return str(dock.status.message.text())

    def tab(self, title: str) -> Any:
        """Show a tab, and return its dock."""
        bar = self.panel.tabs.tabBar()
        self._click(bar, bar.tabRect(list(TABS).index(title)).center())
        if self._driver is not None:
            self.driver.settle()  # A wider tab makes the canvas smaller.
        return self.panel.docks[title]

    def press(self, button: Any) -> None:
        """Press a button of a dock."""
        wait_until(button.isVisible, 20, f"the button '{button.text()}'")
        wait_until(button.isEnabled, TIMEOUT_S, f"the button '{button.text()}' to be enabled")
        x = button.height() // 2 if button.isCheckable() and button.text() else button.width() // 2
        self._click(button, QPoint(x, button.height() // 2))

    def choose(self, button: Any, chosen: Path | list[Path]) -> None:
        """Press a button that opens a file dialog, and choose a folder or files in it."""
        files = [str(path) for path in chosen] if isinstance(chosen, list) else []
        with (
            patch.object(QFileDialog, "getExistingDirectory", lambda *_: str(chosen)),
            patch.object(QFileDialog, "getOpenFileNames", lambda *_: (files, "")),
        ):
            self.press(button)
        self.actions += 1

    def name_class(self, name: str, add: bool = False) -> None:
        """Rename the selected class, or add a class."""
        classes = self.panel.docks["Annotate"].classes  # type: ignore[attr-defined]
        self.press(classes.add_button if add else classes.rename_button)
        editors = [editor for editor in classes.list.findChildren(QLineEdit) if editor.isVisible()]
        self._check(bool(editors), "the name of the class cannot be edited")
        self.actions += 1
        QTest.keyClicks(editors[-1], name)
        QTest.keyClick(editors[-1], Qt.Key.Key_Return)
        wait_until(lambda: self.annotator.session.classes.find(name) is not None, 10, f"the class '{name}'")

    def select(self, box: Any, data: str) -> None:
        """Select an entry of a combo box by its data, as a user does."""
        self.actions += 1
        box.setCurrentIndex(box.findData(data))
        box.activated.emit(box.currentIndex())

    def find_similar(self, region: str, frame: Any) -> None:
        """Search a region for objects like those of the selected class."""
        form = self.panel.docks["Annotate"].similar  # type: ignore[attr-defined]
        self.select(form.region, region)
        self.press(form.find_button)
        frame(350, "Find similar")
        wait_until(lambda: not form._busy, TIMEOUT_S, "the search")

    def follow_image(self) -> None:
        """Wait until the image in use is ready, and drive the mouse on it."""
        wait_until(lambda: self.state.annotator is not None and self.state.ready, TIMEOUT_S, "the image")
        if self.state.image is None:
            raise StepError("No image is open.")
        self._driver = RecordingDriver(self.viewer, self.state.image, self.recorder)
        self.driver.settle()

    def click(self, x: float, y: float, button: Any = LEFT) -> None:
        """Click and wait for the mask."""
        self.actions += 1
        self.driver.click(x, y, button)
        wait_until(lambda: self.state.prompts.idle, TIMEOUT_S, "the mask")

    def commit(self) -> None:
        """Press Enter and wait for the object."""
        before = len(self.annotator.session.document.objects)
        self.driver.key(Qt.Key.Key_Return)
        session = self.annotator.session
        wait_until(
            lambda: not len(session.waiting) and len(session.document.objects) != before,
            TIMEOUT_S,
            "the object",
        )
        self.actions += 1
        if self.first_object is None:
            self.first_object = time.time() - psutil.Process().create_time(), self.actions

    def _click(self, widget: Any, place: QPoint) -> None:
        self.actions += 1
        self.recorder.move(widget, place)
        QTest.mouseClick(widget, LEFT, NONE, place)
        wait_until(lambda: True, 1, "the events")
