"""Training state shared by the docks of a viewer: the dataset, its heads, and the saving of samples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ...arrays import ClassInfo
from ...jobs import Job, Progress
from ...session.proposals.result_filter import MIN_AREA_PX, ResultFilter
from ..background.native_libraries import import_triton_isolated
from ..background.workers import JobRunner

if TYPE_CHECKING:
    from ...session import Session, TrainingSamples
    from ...training.rounds.heads_in_use import HeadsInUse

SAVE_AFTER_MS = 2000
"""Time without a change after which corrections are saved to the dataset."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenedDataset:
    """A dataset, its heads and its classes; a dataset without samples has no classes."""

    samples: TrainingSamples
    heads: HeadsInUse
    classes: tuple[ClassInfo, ...]


class TrainingState(QObject):
    """Saves annotations to a dataset in the background and holds the dataset's heads.

    Changes are saved two seconds after the last one, when another image is opened, and before training. Changes that
    are unsaved when the window is closed are kept in the journal and saved when the image is opened again.

    Args:
        state_dir: Folder in which the last used dataset is recorded.
        parent: The Qt parent.
    """

    changed = Signal()
    """Emitted when another dataset or another head is in use."""
    saved = Signal()
    """Emitted when the dataset has new content."""
    message = Signal(str)
    """Message for the user."""

    def __init__(self, state_dir: Path, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.samples: TrainingSamples | None = None
        self.heads: HeadsInUse | None = None
        self.result_filter = ResultFilter(MIN_AREA_PX)
        """Filter that is set in the Auto-segment dock and also used by the Folder dock."""
        self.runner = JobRunner(self)
        """Runner of the jobs that open and save the dataset."""
        self._state_dir = state_dir
        self._session: Session | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAVE_AFTER_MS)
        self._timer.timeout.connect(self.save)
        self.runner.failed.connect(self.message)

    @property
    def folder(self) -> Path | None:
        """Folder of the dataset; None before one is chosen."""
        return None if self.samples is None else self.samples.folder

    def restore(self) -> None:
        """Open the last used dataset, if there is one."""
        if self.samples is None and not self.runner.busy:
            self._open(None)

    def choose(self, folder: Path) -> None:
        """Use another dataset; its folder is created if necessary."""
        self._open(folder)

    def find_slides(self, ends_before: str) -> None:
        """Derive the slide of each image from its name; see `DatasetFolder.find_slides`."""
        if self.folder is not None:
            # The job saves first, because starting it cancels a running save.
            job = slides_job(self.save_job(), self.folder, ends_before)
            self.runner.start(job, "looking for the slides", lambda _: self.saved.emit())

    def follow(self, session: Session | None) -> None:
        """Save the changes of another session from now on; save pending changes of the previous session at once."""
        if session is self._session:
            return
        if self._session is not None:
            self._session.saved.disconnect(self._on_changed)
            if self._timer.isActive():
                self.save()
        self._session = session
        if session is not None:
            session.saved.connect(self._on_changed)
            self._on_changed()

    def save(self) -> None:
        """Save unsaved changes in the background; if the dataset is busy, try again later."""
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

    def close(self) -> None:
        """Stop saving and disconnect from the session."""
        self._timer.stop()
        if self._session is not None:
            self._session.saved.disconnect(self._on_changed)
        self._session = None
        self.runner.cancel()

    def _open(self, folder: Path | None) -> None:
        job = open_dataset_job(folder, self._state_dir)
        self.runner.start(job, "opening the dataset", self._on_opened)

    def _on_changed(self) -> None:
        if self.samples is not None and self._session is not None:
            self.samples.mark_changed(self._session)
            self._timer.start()

    def _on_opened(self, opened: OpenedDataset | None) -> None:
        if opened is None:
            return
        self.samples, self.heads = opened.samples, opened.heads
        if self._session is not None:
            self._session.begin_with(opened.classes)
        self._on_changed()
        self.changed.emit()


def open_dataset_job(folder: Path | None, state_dir: Path) -> Job[OpenedDataset | None]:
    """Open a dataset and its heads, and record it as the last used dataset.

    Args:
        folder: The dataset; the last used dataset by default.
        state_dir: Folder in which the last used dataset is recorded.

    Returns:
        The dataset, or None if no folder is given and none is recorded.
    """
    yield Progress(0, 0, "Opening the dataset")
    from ...session import TrainingSamples, first_classes, remember_dataset, remembered_dataset

    last_used = remembered_dataset(state_dir)
    folder = folder or last_used
    if folder is None:
        return None
    import_triton_isolated()
    from ...training.rounds.heads_in_use import HeadsInUse

    heads = HeadsInUse(folder)
    if folder != last_used:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
        remember_dataset(folder, state_dir)
    return OpenedDataset(TrainingSamples(folder), heads, first_classes(folder))


def slides_job(save: Job[int] | None, folder: Path, ends_before: str) -> Job[None]:
    """Save unsaved changes, then derive the slide of each image from its name.

    Args:
        save: Job that saves the unsaved changes; None if there are none.
        folder: The dataset; created if necessary.
        ends_before: See `DatasetFolder.find_slides`.
    """
    from ...formats import DatasetFolder

    if save is not None:
        yield from save
    yield Progress(0, 0, "Looking for the slides")
    dataset = DatasetFolder.open(folder) if DatasetFolder.exists(folder) else DatasetFolder.create(folder, ())
    dataset.find_slides(ends_before)
