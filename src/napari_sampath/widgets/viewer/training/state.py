"""Training state shared by the docks of a viewer: the open project, its heads, and the saving of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ....arrays import ClassInfo
from ....errors import attempt
from ....jobs import Job, Progress
from ....session.proposals.result_filter import MIN_AREA_PX, ResultFilter
from ...background.native_libraries import import_triton_isolated
from ...background.workers import JobRunner
from .adaptation import Adaptation
from .membership import Membership

if TYPE_CHECKING:
    from ....session import Project, Session
    from ....session.project.samples import ProjectSamples
    from ....training.rounds.heads_in_use import HeadsInUse

SAVE_AFTER_MS = 2000
"""Time without a change after which corrections are saved to the dataset."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenedProject:
    """A project, its heads, and the samples that are saved to it."""

    project: Project
    samples: ProjectSamples
    heads: HeadsInUse


class TrainingState(QObject):
    """Holds the open project and its heads, and saves training samples of the images in its training set.

    No project is opened automatically, and nothing is copied without one: annotations of images that are not in a
    project are in the journals only. Changes are saved two seconds after the last one, when another image is opened,
    and before training. Changes that are unsaved when the window is closed are kept in the journal and saved when the
    image is opened again.

    Args:
        state_dir: Folder in which the last used project is recorded.
        parent: The Qt parent.
    """

    changed = Signal()
    """Emitted when another project or another head is in use."""
    project_changed = Signal()
    """Emitted when a project was opened, closed or edited, or the role of the image in use in it changed."""
    edited = Signal()
    """Emitted when the annotations of the image in use have changed."""
    saved = Signal()
    """Emitted when the dataset of the project has new content."""
    message = Signal(str)
    """Message for the user."""

    def __init__(self, state_dir: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.project: Project | None = None
        self.samples: ProjectSamples | None = None
        self.heads: HeadsInUse | None = None
        self.result_filter = ResultFilter(MIN_AREA_PX)
        """Filter that is set in the Auto-segment dock and also used by the Folder dock."""
        self.runner = JobRunner(self)
        """Runner of the jobs that open projects and save samples."""
        self.state_dir = state_dir
        self.session: Session | None = None
        """Session of the image in use."""
        self.membership = Membership(self, self)
        self.adaptation = Adaptation(self)
        self.adaptation.message.connect(self.message)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAVE_AFTER_MS)
        self._timer.timeout.connect(self.save)
        self.runner.failed.connect(self.message)

    @property
    def folder(self) -> Path | None:
        """Folder of the open project; None if there is none."""
        return None if self.project is None else self.project.path

    @property
    def last_project(self) -> Path | None:
        """Folder of the project that was used last, if it still exists; it is not opened automatically."""
        from ....session import remembered_dataset

        return remembered_dataset(self.state_dir)

    def first_classes(self, before: tuple[ClassInfo, ...]) -> tuple[ClassInfo, ...]:
        """Return the classes of a new image: those of the project, otherwise `before`, those of the last image."""
        return (() if self.project is None else self.project.classes) or before

    def choose(self, folder: Path, name: str = "", classes: Sequence[ClassInfo] = ()) -> None:
        """Open a project, after saving to the current one; a new one is created with this name and these classes."""
        job = open_project_job(self.save_job(), folder, self.state_dir, name, tuple(classes))
        self.runner.start(job, "opening the project", self._on_opened)

    def close_project(self) -> None:
        """Close the project, after saving to it; its images stay open."""
        job = self.save_job()
        if job is None:
            self._forget()
        else:
            self.runner.start(job, "saving the training sample", lambda _: self._forget())

    def find_slides(self, ends_before: str) -> None:
        """Derive the slide of each image from its name; see `DatasetFolder.find_slides`."""
        if self.folder is not None:
            # The job saves first, because starting it cancels a running save.
            job = slides_job(self.save_job(), self.folder, ends_before)
            self.runner.start(job, "looking for the slides", lambda _: self.saved.emit())

    def follow(self, session: Session | None, file: Path | None = None) -> None:
        """Save the changes of another session from now on; save pending changes of the previous session at once.

        Args:
            session: The session of the image in use.
            file: The file of its image, if it has one.
        """
        if session is self.session:
            return
        if self.session is not None:
            self.session.saved.disconnect(self._on_edited)
            if self._timer.isActive():
                self.save()
        self.session = session
        self.membership.follow(session, file)
        self.adaptation.follow(session)
        if session is not None:
            session.saved.connect(self._on_edited)
            self.mark_changed()
        self.project_changed.emit()

    def save(self) -> None:
        """Save unsaved changes in the background; if the project is busy, try again later."""
        if self.runner.busy:
            self._timer.start()
            return
        job = self.save_job()
        if job is not None:
            self.runner.start(job, "saving the training sample", lambda _: self.saved.emit())

    def save_job(self) -> Job[int] | None:
        """Return a job that saves unsaved changes; None if there are none."""
        self._timer.stop()
        return None if self.samples is None else self.samples.save_job()

    def mark_changed(self) -> None:
        """Record that the image in use may have unsaved changes; images outside the training set are ignored."""
        if self.samples is not None and self.session is not None:
            self.samples.mark_changed(self.session)
            if self.samples.pending:
                self._timer.start()

    def attempt(self, call: Callable[[], object]) -> bool:
        """Call a function; if it raises a `SampathError`, show the message and return False."""
        return attempt(call, self.message.emit)

    def close(self) -> None:
        """Stop saving and disconnect from the session."""
        self._timer.stop()
        if self.session is not None:
            self.session.saved.disconnect(self._on_edited)
        self.session = None
        self.membership.close()
        self.adaptation.close()
        self.runner.cancel()

    def _on_edited(self) -> None:
        self.mark_changed()
        self.edited.emit()

    def _on_opened(self, opened: OpenedProject) -> None:
        self.project, self.samples, self.heads = opened.project, opened.samples, opened.heads
        self.membership.join()
        self.adaptation.use_project(self.folder)
        self.mark_changed()
        self.message.emit(f"Opened the project '{self.project.name}'.")
        self.changed.emit()
        self.project_changed.emit()

    def _forget(self) -> None:
        self._timer.stop()
        self.project = self.samples = self.heads = None
        self.adaptation.use_project(None)
        self.changed.emit()
        self.project_changed.emit()


def open_project_job(
    save: Job[int] | None, folder: Path, state_dir: Path, name: str, classes: tuple[ClassInfo, ...]
) -> Job[OpenedProject]:
    """Make a job that opens or creates a project and records it as the last used one.

    Args:
        save: Job that saves the unsaved changes to the current project; None if there are none.
        folder: The project, or a dataset of an earlier version.
        state_dir: Folder in which the last used project is recorded.
        name: Name of a new project; that of the folder if empty.
        classes: Class list of a new project.
    """
    if save is not None:
        yield from save
    yield Progress(0, 0, "Opening the project")
    import_triton_isolated()
    from ....session import Project, remember_dataset
    from ....session.project.checking import listing_job
    from ....session.project.samples import ProjectSamples
    from ....training.rounds.heads_in_use import HeadsInUse

    folder = folder.expanduser()
    project = Project(folder) if Project.exists(folder) else Project.create(folder, name, classes)
    yield from listing_job(project)
    heads = HeadsInUse(project.path)
    remember_dataset(project.path, state_dir)
    return OpenedProject(project, ProjectSamples(project), heads)


def slides_job(save: Job[int] | None, folder: Path, ends_before: str) -> Job[None]:
    """Save unsaved changes, then derive the slide of each image from its name.

    Args:
        save: Job that saves the unsaved changes; None if there are none.
        folder: The project.
        ends_before: See `DatasetFolder.find_slides`.
    """
    from ....formats import DatasetFolder

    if save is not None:
        yield from save
    yield Progress(0, 0, "Looking for the slides")
    DatasetFolder.open(folder).find_slides(ends_before)
