"""Corrections become training samples as they are made: which sessions a dataset does not have as they are now."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DatasetError
from ..files import write_atomically
from ..jobs import Job

if TYPE_CHECKING:
    from ..arrays import ClassInfo
    from ..formats.dataset_manifest import DatasetImage
    from .session import Session

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

        An image in which nobody has vouched for a pixel is no sample, unless the dataset holds an earlier version.
        What a failed or cancelled job did not save is due again.

        Returns:
            The job; its result is the number of images that are up to date now.
        """
        jobs = []
        for session, changes in list(self._changed.items()):
            try:
                if self._is_sample(session):
                    jobs.append((session, changes, session.save_job(self.folder)))
                    continue
            except DatasetError as error:
                logger.warning("No training sample of %s: %s", session.name, error)
            del self._changed[session]
        return self._save(jobs) if jobs else None

    def _save(self, jobs: list[tuple[Session, int, Job[DatasetImage]]]) -> Job[int]:
        for session, changes, job in jobs:
            yield from job
            if self._changed.get(session) == changes:  # Nothing more has changed meanwhile.
                self._changed.pop(session, None)
        return len(jobs)

    def _is_sample(self, session: Session) -> bool:
        from ..formats import DatasetFolder

        document = session.document
        if document.vouched_map.any() or any(one.trust == 1 for one in document.annotations.values()):
            return True
        return DatasetFolder.exists(self.folder) and session.name in DatasetFolder.open(self.folder).images


def first_classes(folder: Path | None, before: tuple[ClassInfo, ...] = ()) -> tuple[ClassInfo, ...]:
    """Return the classes that an image begins with: those of the dataset, else those of the image before it."""
    from ..formats import DatasetFolder

    if folder is not None and DatasetFolder.exists(folder):
        known = tuple(info for info in DatasetFolder.open(folder).classes if info.id > 0)
        return known or before
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
