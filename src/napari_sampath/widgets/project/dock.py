"""The Project dock: open a project, add images, and work through a folder of images."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QLayout, QWidget

from ..common.controls import column, group, label
from ..folder.dock import FolderDock
from .image_form import ImageForm
from .jobs import unpack_project_job
from .project_form import ProjectForm
from .readers_form import ReadersForm
from .start_page import StartPage

FOLDER_HINT = (
    "Choose a folder to work through its images one by one; right-click an image to add it to the project."
)


class ProjectDock(FolderDock):
    """Shows the open project, the role of the image in use in it, and a folder of images.

    Without a project it offers to open one, and states that nothing is copied.
    """

    def refresh(self) -> None:
        """Show the current state."""
        super().refresh()
        has_project = self.state.training.project is not None
        self.start.setVisible(not has_project)
        self.project.setVisible(has_project)
        self.readers_group.setVisible(has_project)
        self.start.refresh()
        self.project.refresh()
        self.image.refresh()
        self.readers.refresh()
        has_folder = self.controller.queue is not None
        self.strip.setVisible(has_folder)
        self.hint.setVisible(not has_folder)

    def open_project(self, folder: Path) -> None:
        """Open a project; it is created if the folder is not one yet, with the classes of the image in use."""
        session = self.state.session
        edited = session is not None and bool(session.document.objects)
        classes = session.classes.snapshot if session is not None and edited else ()
        self.state.training.choose(folder, classes=classes)

    def unpack(self, source: Path, folder: Path) -> None:
        """Unpack a project from a zip file into a new folder, and open it."""
        training = self.state.training
        job = unpack_project_job(source, folder, self.state.sessions_dir)
        training.membership.edit(job, "unpacking the project", lambda project: training.choose(project.path))

    def controls(self) -> tuple[QWidget | QLayout, ...]:
        """Return the controls in their order."""
        self.start = StartPage(self.state)
        self.project = ProjectForm(self.state)
        self.image = ImageForm(self.state, self.start.choose_images)
        self.readers = ReadersForm(self.state)
        self.cancel_on_close(self.readers.runner)
        self.readers_group = group("Readers", self.readers)
        folder, *strip = super().controls()
        self.strip = QWidget()
        column(*strip, parent=self.strip)
        self.hint = label(FOLDER_HINT, wrap=True)
        image = group("Image in use", self.image)
        return (self.start, self.project, image, self.readers_group, folder, self.hint, self.strip)

    def _connect(self) -> None:
        super()._connect()
        training = self.state.training
        self.start.project_selected.connect(self.open_project)
        self.start.folder_selected.connect(self.controller.open_folder)
        self.start.zip_selected.connect(self.unpack)
        self.project.open_requested.connect(lambda path: self.start.open_images([path]))
        training.message.connect(self.status.say)
        training.saved.connect(self.refresh)
        self.state.message.connect(self.status.hear)
        self.status.expire_on(self.state.image_chosen, training.edited, training.project_changed)
        self.state.runner.failed.connect(self.status.say)
        runners = training.membership.runner, self.readers.runner
        for signal in (signal for runner in runners for signal in (runner.started, runner.finished)):
            signal.connect(self.refresh)
        training.runner.started.connect(self._say_doing)

    def _say_doing(self, doing: str) -> None:
        if "the project" in doing:
            self.status.say(f"{doing[:1].upper()}{doing[1:]} …")
