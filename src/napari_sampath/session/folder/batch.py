"""The stages of SAM's data engine as modes of working (Segment Anything, section 4).

Assisted: a person prompts and nothing is proposed. Semi-automatic: a head proposes on the image that is open, the
person completes it and marks areas as complete. Automatic: a head proposes on all images of a folder, and the person
reviews them, those it doubts most first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from ...arrays import ClassInfo, UInt8Array
from ...errors import SampathError
from ...jobs import Job, Progress
from ..proposals.components import Segmentation, from_segmentation
from ..proposals.result_filter import KEEP_ALL, ResultFilter
from ..proposals.uncertain import mean_doubt
from .queue import FolderQueue

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FolderRun:
    """What became of the images of a folder that a head went through."""

    doubts: dict[str, float] = field(default_factory=dict)
    """File name of each image segmented -> mean uncertainty, 0..1."""
    left_out: dict[str, str] = field(default_factory=dict)
    """File name of each image that could not be read or written -> why, a sentence."""


def automatic_job(
    queue: FolderQueue,
    segment: Callable[[UInt8Array], Job[Segmentation]],
    sessions_dir: Path,
    result_filter: ResultFilter = KEEP_ALL,
    leave: Collection[str] = (),
    classes: Collection[ClassInfo] = (),
) -> Job[FolderRun]:
    """Make a job that has a head propose on every image of a folder that is neither done nor put aside.

    Each proposal is in the journal of its image, where opening the image finds it, and replaces only what heads
    proposed before. The queue gets each image's uncertainty, by which `FolderQueue.to_review` orders. An image that
    cannot be read, or that is open in a session, is left out.

    Args:
        queue: The folder.
        segment: Makes the job that segments the pixels (H, W, 3) of one image.
        sessions_dir: Folder of the journals, `Config.sessions_dir`.
        result_filter: The parts of each result to keep.
        leave: File names that are left alone, such as the one that is open.
        classes: What an image without annotations begins with, see `first_classes`.

    Returns:
        The job.
    """
    from ...images import read
    from ..editor import journal_path
    from ..session import Session

    todo = [entry.path for entry in queue.to_review() if entry.path.name not in leave]
    run = FolderRun()
    for number, image in enumerate(sorted(todo)):
        yield Progress(number, len(todo), f"Segmenting {image.name}", "images")
        try:
            if not queue.awaits_review(image.name):
                continue
            picture = read(image)
            result = yield from segment(picture.pixels)
            if not queue.awaits_review(image.name):
                continue  # Somebody has finished it meanwhile.
            path = journal_path(picture.pixels, sessions_dir)
            session = Session(picture.pixels, picture.name, classes=classes, journal=path)
            try:
                session.propose(from_segmentation(result, result_filter))
                doubt = mean_doubt(result, session.hw, session.document.verified)
            finally:
                session.close()
            queue.mark(image.name, None, doubt)
            run.doubts[image.name] = doubt
        except SampathError as error:
            logger.warning("%s was left out: %s", image.name, error)
            run.left_out[image.name] = str(error)
    yield Progress(len(todo), len(todo), "Segmenting the folder", "images")
    return run
