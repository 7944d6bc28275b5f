"""What the docks of one viewer share about training: the dataset, what is saved to it, and which head is in use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

from ...session.proposals.result_filter import MIN_AREA_PX, ResultFilter
from ..background.workers import JobRunner
from .training_jobs import open_dataset_job, slides_job

if TYPE_CHECKING:
    from pathlib import Path

    from ...jobs import Job
    from ...session import Session, TrainingSamples
    from ...training.rounds.heads_in_use import HeadsInUse
    from .training_jobs import OpenedDataset

SAVE_AFTER_MS = 2000
"""Corrections are saved to the dataset once nothing has changed for so long."""


class TrainingState(QObject):
    """Keeps a dataset equal to what is annotated, in the background, and knows its heads.

    Nothing has to be saved by hand: what changed is saved two seconds after the last change, when another image is
    opened, and before training. What a closed window left unsaved is in the journal, and is saved when the image is
    opened again.

    Args:
        state_dir: Where the dataset in use is remembered; the user's folder if left out.
        parent: The owner.
    """

    changed = Signal()
    """Another dataset or another head in use."""
    saved = Signal()
    """The dataset has new content."""
    message = Signal(str)
    """A sentence for the user."""

    def __init__(self, state_dir: Path | None = None, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.samples: TrainingSamples | None = None
        self.heads: HeadsInUse | None = None
        self.result_filter = ResultFilter(MIN_AREA_PX)
        """The filter set in the Auto-segment dock, used by the Folder dock too."""
        self.runner = JobRunner(self)
        """Opens and saves the dataset."""
        self._state_dir = state_dir
        self._session: Session | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SAVE_AFTER_MS)
        self._timer.timeout.connect(self.save)
        self.runner.failed.connect(self.message)

    @property
    def folder(self) -> Path | None:
        """The dataset; None before one is chosen."""
        return None if self.samples is None else self.samples.folder

    def restore(self) -> None:
        """Open the dataset that was in use last, if there is one."""
        if self.samples is None and not self.runner.busy:
            self.runner.start(open_dataset_job(None, self._state_dir), "opening the dataset", self._on_opened)

    def choose(self, folder: Path) -> None:
        """Use another dataset; its folder is made with the first sample."""
        self.runner.start(open_dataset_job(folder, self._state_dir), "opening the dataset", self._on_opened)

    def find_slides(self, ends_before: str) -> None:
        """Say how the names of the dataset's images tell of their slides."""
        if self.folder is not None:
            # A save that this cancels is due again, and part of the job.
            job = slides_job(self.pending(), self.folder, ends_before)
            self.runner.start(job, "looking for the slides", lambda _: self.saved.emit())

    def follow(self, session: Session | None) -> None:
        """Save the changes of another session from now on; those of the one before are saved at once."""
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
        """Save what changed now, in the background."""
        if self.runner.busy:
            self._timer.start()
            return
        job = self.pending()
        if job is not None:
            self.runner.start(job, "saving the training sample", self._on_saved)

    def pending(self) -> Job[int] | None:
        """Return a job that saves what is not in the dataset yet; None if all is."""
        self._timer.stop()
        return None if self.samples is None else self.samples.save_job()

    def close(self) -> None:
        """Let go of the session and end."""
        self._timer.stop()
        if self._session is not None:
            self._session.saved.disconnect(self._on_changed)
        self._session = None
        self.runner.cancel()

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

    def _on_saved(self, _count: int) -> None:
        self.saved.emit()
