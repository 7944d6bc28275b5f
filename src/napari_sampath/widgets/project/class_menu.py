"""Menu of the class list of a project: presets, files, and removal of classes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject
from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton

from ...jobs import Job, Progress
from ..common.pixmaps import swatch
from ..viewer.viewer_state import ViewerState

if TYPE_CHECKING:
    from ...session import Project

FILES = "Class lists (*.csv *.json)"


class ClassMenu(QObject):
    """Fills the menu of a button with the actions on the class list of the open project."""

    def __init__(self, state: ViewerState, button: QPushButton) -> None:
        super().__init__(button)
        self._state = state
        self._button = button
        self.menu = QMenu(button)
        self.menu.aboutToShow.connect(self.fill)
        button.setMenu(self.menu)

    def fill(self) -> None:
        """List the actions."""
        from ...session.project.class_files import PRESETS

        self.menu.clear()
        project = self._state.training.project
        if project is None:
            return
        presets = self.menu.addMenu("Add the classes of a preset")
        for name, (description, _) in PRESETS.items():
            presets.addAction(description, partial(self.add_preset, name))
        self.menu.addAction("Add classes from a file…", self._choose_source)
        self.menu.addAction("Save the class list…", self._choose_target)
        self.menu.addSeparator()
        for info in project.classes:
            others = [other for other in project.classes if other.id != info.id]
            submenu = self.menu.addMenu(swatch(info.color), f"Remove '{_shown(info.name)}'")
            submenu.addAction("with its objects in all images", partial(self.take_out, info.id, None))
            for other in others:
                action = partial(self.take_out, info.id, other.id)
                submenu.addAction(
                    swatch(other.color), f"and move its objects to '{_shown(other.name)}'", action
                )

    def add_preset(self, name: str) -> None:
        """Add the classes of a preset to the project."""
        from ...session.project.class_files import preset

        self._edit(lambda project: project.add_classes(preset(name)))

    def read(self, path: Path) -> None:
        """Add the classes of a file to the project."""
        from ...session.project.class_files import read_classes

        self._edit(lambda project: project.add_classes(read_classes(path)))

    def write(self, path: Path) -> None:
        """Save the class list of the project."""
        from ...session.project.class_files import write_classes_file

        text = f"Saved the class list as {path}."
        self._edit(lambda project: write_classes_file(path, project.classes), text)

    def take_out(self, class_id: int, into: int | None) -> None:
        """Remove a class from the project and all its images; its objects are deleted, or moved to `into`."""
        from ...session.project.journals import take_class_out

        training = self._state.training
        project, session = training.project, training.session
        if project is None:
            return
        names = {info.id: info.name for info in project.classes}
        opened = () if session is None else (session.digest,)
        is_in = session is not None and project.find(session.digest) is not None

        def done(failed: dict[str, str]) -> None:
            if session is not None and is_in and session is training.session:
                take_class_out(
                    session.class_tools,
                    session.classes,
                    names[class_id],
                    None if into is None else names[into],
                )
                training.membership.join()
            text = f"Removed '{names[class_id]}' from the project."
            if failed:
                name, reason = next(iter(failed.items()))
                text += f" {len(failed)} of its images still have the class; {name}: {reason}"
            training.message.emit(text)

        job = _remove_job(project, class_id, into, self._state.sessions_dir, opened)
        training.membership.edit(job, "removing the class", done)

    def _edit(self, change: Callable[[Project], object], text: str = "Changed the class list.") -> None:
        training, project = self._state.training, self._state.training.project
        if project is None:
            return

        def done(_result: object) -> None:
            training.membership.join()
            training.message.emit(text)

        training.membership.edit(_call_job(partial(change, project)), "changing the class list", done)

    def _choose_source(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self._button, "Class list", str(Path.home()), FILES)
        if path:
            self.read(Path(path))

    def _choose_target(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self._button, "Class list", "classes.csv", FILES)
        if path:
            self.write(Path(path))


def _call_job(call: partial[object]) -> Job[object]:
    yield Progress(0, 0, "Changing the class list")
    return call()


def _remove_job(
    project: Project, class_id: int, into: int | None, sessions_dir: Path, opened: tuple[str, ...]
) -> Job[dict[str, str]]:
    from ...session.project.journals import remove_class_job

    return (yield from remove_class_job(project, class_id, into, sessions_dir, opened))


def _shown(name: str) -> str:
    """Escape "&", which marks a keyboard shortcut in a menu."""
    return name.replace("&", "&&")
