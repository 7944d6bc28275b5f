"""Corrections become training samples as they are made: which sessions a dataset does not have as they are now."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import DatasetError, SampathError
from ...files import write_atomically
from ...jobs import Job, Progress

if TYPE_CHECKING:
    from ...arrays import ClassInfo
    from ...formats.dataset.manifest import DatasetImage
    from ..session import Session

logger = logging.getLogger(__name__)

_REMEMBERED = "dataset-in-use.json"


class TrainingSamples:
    """Keeps a dataset equal to the sessions that change, whenever `due` is asked and its job is run.

    One thread calls this, the one that owns the sessions; the jobs run in any.

    Args:
        folder: The dataset; made with the first sample.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self._changed: dict[Session, int] = {}
        """Sessions that the dataset does not have as they are, with the number of changes noted."""

    def note(self, session: Session) -> None:
        """Note that a session has changed, or may have while nobody looked."""
        self._changed[session] = self._changed.get(session, 0) + 1

    @property
    def waiting(self) -> bool:
        """True if a change is not in the dataset yet."""
        return bool(self._changed)

    def due(self) -> Job[int] | None:
        """Return a job that saves what changed, as it is at this moment; None if there is nothing to save.

        An image without verified pixels is not a sample, unless the dataset holds an earlier version.
        What a failed or cancelled job did not save is due again; one image that fails leaves the others alone.

        Returns:
            The job; its result is the number of images that are up to date now.
        """
        jobs = []
        for session, changes in list(self._changed.items()):
            try:
                job = self._job(session)
            except DatasetError as error:
                logger.warning("No training sample of %s: %s", session.name, error)
                job = None
            if job is None:
                del self._changed[session]
            else:
                jobs.append((session, changes, job))
        return self._save(jobs) if jobs else None

    def _save(self, jobs: list[tuple[Session, int, Job[DatasetImage | None]]]) -> Job[int]:
        saved, errors = 0, []
        for session, changes, job in jobs:
            try:
                saved += (yield from job) is not None
            except SampathError as error:
                errors.append(error)
                continue
            if self._changed.get(session) == changes:  # Nothing more has changed meanwhile.
                self._changed.pop(session, None)
        if errors:
            raise errors[0]
        return saved

    def _job(self, session: Session) -> Job[DatasetImage | None] | None:
        """Return the job that saves a session, None if it is surely no sample."""
        from ...formats import DatasetFolder
        from ...formats.dataset.names import alike

        document = session.document
        if document.verified_map.any() or any(one.trust == 1 for one in document.objects.values()):
            return session.save_job(self.folder)
        images = DatasetFolder.open(self.folder).images if DatasetFolder.exists(self.folder) else ()
        if not alike(session.name, images):
            return None
        return _save_again(self.folder, session, session.save_job(self.folder))


def _save_again(folder: Path, session: Session, job: Job[DatasetImage]) -> Job[DatasetImage | None]:
    """Save an image if the dataset holds an earlier version of it; it may hold another of the same name."""
    from ...formats import DatasetFolder

    yield Progress(0, 0, "Looking for the training sample")
    if DatasetFolder.open(folder).find(session.name, session.image) is None:
        return None
    return (yield from job)


def first_classes(folder: Path | None, before: tuple[ClassInfo, ...] = ()) -> tuple[ClassInfo, ...]:
    """Return the classes that an image begins with: those of the dataset, else those of the image before it."""
    from ...formats import DatasetFolder

    if folder is not None and DatasetFolder.exists(folder):
        # Of a class in two spellings, which earlier versions have let in, the first.
        known = {info.key: info for info in reversed(DatasetFolder.open(folder).classes) if info.id > 0}
        return tuple(reversed(known.values())) or before
    return before


def remember_dataset(folder: Path, state_dir: Path) -> None:
    """Remember the dataset in use for the next start.

    Raises:
        StorageError: If that cannot be written.
    """
    text = json.dumps({"folder": str(folder.expanduser().resolve())}).encode()
    write_atomically(state_dir / _REMEMBERED, lambda stream: stream.write(text))


def remembered_dataset(state_dir: Path) -> Path | None:
    """Return the dataset that was in use last; None if there is none, or its folder is gone."""
    try:
        folder = Path(json.loads((state_dir / _REMEMBERED).read_text(encoding="utf-8"))["folder"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return folder if folder.is_dir() else None
