"""Segment a whole folder: the automatic stage of SAM's data engine (Segment Anything, section 4).

In the assisted stage, a person annotates with prompts, and a head adds nothing. In the semi-automatic stage, a head
proposes objects on the open image, and the person completes them. In the automatic stage, a head proposes objects on
all images of a folder, and the person reviews the images, most uncertain first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from ...arrays import ClassInfo
from ...errors import SampathError
from ...images import LoadedImage
from ...jobs import Job, Progress
from ..journals import journal_path
from ..proposals.new_objects import Segmentation, from_segmentation
from ..proposals.result_filter import KEEP_ALL, ResultFilter
from ..proposals.uncertain import mean_uncertainty
from ..session import Session
from .queue import FolderQueue

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FolderRun:
    """Result of segmenting the images of a folder."""

    uncertainty: dict[str, float] = field(default_factory=dict)
    """File name of each segmented image -> mean uncertainty, 0..1."""
    skipped: dict[str, str] = field(default_factory=dict)
    """File name of each image that could not be read or saved -> the reason, as one sentence."""


def automatic_job(
    queue: FolderQueue,
    segment: Callable[[LoadedImage], Job[Segmentation]],
    sessions_dir: Path,
    result_filter: ResultFilter = KEEP_ALL,
    exclude: Collection[str] = (),
    classes: Collection[ClassInfo] = (),
) -> Job[FolderRun]:
    """Make a job in which a head proposes objects on every image of a folder that awaits review.

    The proposals are written to the journal of each image, where they replace earlier unreviewed proposals. The queue
    stores the uncertainty of each image, and `FolderQueue.to_review` sorts by it. Images that cannot be read, or that
    are open in a session, are skipped.

    Args:
        queue: The folder.
        segment: Returns the job that segments one image.
        sessions_dir: Folder of the journals, usually `Config.sessions_dir`.
        result_filter: The parts of each result to keep.
        exclude: File names to skip, such as that of the open image.
        classes: Initial classes of images without a journal, see `first_classes`.

    Returns:
        The job.
    """
    from ...images import read

    todo = sorted(entry.path for entry in queue.to_review() if entry.path.name not in exclude)
    run = FolderRun()
    for done, path in enumerate(todo):
        yield Progress(done, len(todo), f"Segmenting {path.name}", "images")
        try:
            if not queue.awaits_review(path.name):
                continue
            image = read(path)
            segmentation = yield from segment(image)
            if not queue.awaits_review(path.name):
                continue  # The image was marked while it was being segmented.
            journal = journal_path(image.pixels, sessions_dir)
            session = Session(image.pixels, image.name, classes=classes, journal=journal)
            try:
                session.proposals.replace(from_segmentation(segmentation, result_filter)).apply()
                uncertainty = mean_uncertainty(segmentation, session.hw, session.document.verified)
            finally:
                session.close()
            queue.mark(path.name, None, uncertainty)
            run.uncertainty[path.name] = uncertainty
        except SampathError as error:
            logger.warning("%s was skipped: %s", path.name, error)
            run.skipped[path.name] = str(error)
    yield Progress(len(todo), len(todo), "Segmenting the folder", "images")
    return run
