"""Save changed sessions to a dataset, so that corrections become training samples."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from ...arrays import ClassInfo
from ...errors import DatasetError, SampathError
from ...files import write_atomically
from ...formats import DatasetFolder
from ...formats.dataset.manifest import DatasetImage
from ...formats.dataset.names import similar_names
from ...jobs import Job, Progress
from ..session import Session

logger = logging.getLogger(__name__)

_STATE_FILE = "dataset-in-use.json"


class TrainingSamples:
    """Saves changed sessions to a dataset as training samples.

    Call the methods in the thread that owns the sessions; the jobs can run in any thread.

    Args:
        folder: Folder of the dataset; created with the first sample.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self._changes: dict[Session, int] = {}
        """Session with unsaved changes -> number of changes."""

    def mark_changed(self, session: Session) -> None:
        """Record that a session has, or may have, unsaved changes."""
        self._changes[session] = self._changes.get(session, 0) + 1

    @property
    def pending(self) -> bool:
        """True if there are unsaved changes."""
        return bool(self._changes)

    def save_job(self) -> Job[int] | None:
        """Make a job that saves the current state of the changed sessions; None if there is nothing to save.

        An image without verified pixels is saved only to replace an earlier version in the dataset. Images that could
        not be saved, or were cancelled, remain pending and do not prevent the others from being saved.

        Returns:
            The job; its result is the number of saved images.
        """
        jobs = []
        for session, changes in list(self._changes.items()):
            try:
                job = self._session_job(session)
            except DatasetError as error:
                logger.warning("'%s' was not saved as a training sample: %s", session.name, error)
                job = None
            if job is None:
                del self._changes[session]
            else:
                jobs.append((session, changes, job))
        return self._run_all(jobs) if jobs else None

    def _run_all(self, jobs: list[tuple[Session, int, Job[DatasetImage | None]]]) -> Job[int]:
        saved, errors = 0, []
        for session, changes, job in jobs:
            try:
                saved += (yield from job) is not None
            except SampathError as error:
                errors.append(error)
                continue
            if self._changes.get(session) == changes:  # No further change during the save.
                self._changes.pop(session, None)
        if errors:
            raise errors[0]
        return saved

    def _session_job(self, session: Session) -> Job[DatasetImage | None] | None:
        """Return the job that saves a session; None if there is nothing to save."""
        document = session.document
        if document.verified_map.any() or any(obj.trust == 1 for obj in document.objects.values()):
            return session.files.save_job(self.folder)
        images = DatasetFolder.open(self.folder).images if DatasetFolder.exists(self.folder) else ()
        if not similar_names(session.name, images):
            return None
        return _save_again(self.folder, session, session.files.save_job(self.folder))


def _save_again(folder: Path, session: Session, job: Job[DatasetImage]) -> Job[DatasetImage | None]:
    """Save an image only if the dataset has an earlier version of it, not just another image of the same name."""
    yield Progress(0, 0, "Looking for the training sample")
    if DatasetFolder.open(folder).find(session.name, session.image) is None:
        return None
    return (yield from job)


def first_classes(folder: Path | None, before: tuple[ClassInfo, ...] = ()) -> tuple[ClassInfo, ...]:
    """Return the classes of a new image: those of the dataset, otherwise `before`, the classes of the last image."""
    if folder is not None and DatasetFolder.exists(folder):
        # Earlier versions allowed two spellings of a class name; the first one is used.
        classes = {info.key: info for info in reversed(DatasetFolder.open(folder).classes) if info.id > 0}
        return tuple(reversed(classes.values())) or before
    return before


def remember_dataset(folder: Path, state_dir: Path) -> None:
    """Store the path of the dataset, so that the next start can restore it.

    Raises:
        StorageError: If the path cannot be written.
    """
    text = json.dumps({"folder": str(folder.expanduser().resolve())}).encode()
    write_atomically(state_dir / _STATE_FILE, lambda stream: stream.write(text))


def remembered_dataset(state_dir: Path) -> Path | None:
    """Return the path stored by `remember_dataset`; None if there is none or the folder no longer exists."""
    try:
        folder = Path(json.loads((state_dir / _STATE_FILE).read_text(encoding="utf-8"))["folder"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return folder if folder.is_dir() else None
