"""Opening the dataset in use and saving to it, in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...jobs import Job, Progress
from ..background.native_libraries import import_triton_apart

if TYPE_CHECKING:
    from pathlib import Path

    from ...arrays import ClassInfo
    from ...session import TrainingSamples
    from ...training.rounds.heads_in_use import HeadsInUse


@dataclass(frozen=True, slots=True, eq=False)
class OpenedDataset:
    """A dataset in use."""

    samples: TrainingSamples
    heads: HeadsInUse
    classes: tuple[ClassInfo, ...]
    """Of the dataset; none before it has a sample."""


def open_dataset_job(folder: Path | None, state_dir: Path | None) -> Job[OpenedDataset | None]:
    """Open a dataset and find out which head is in use.

    Args:
        folder: The dataset, which is remembered; the one remembered last if left out.
        state_dir: Where it is remembered; the user's folder if left out.

    Returns:
        None if no folder was given and none is remembered.
    """
    yield Progress(0, 0, "Opening the dataset")
    from ...config import load_config
    from ...session import TrainingSamples, first_classes, remember_dataset, remembered_dataset

    state_dir = state_dir or load_config().sessions_dir
    known = remembered_dataset(state_dir)
    if folder is None:
        folder = known
        if folder is None:
            return None
    import_triton_apart()
    from ...training.rounds.heads_in_use import HeadsInUse

    heads = HeadsInUse(folder)
    if folder != known:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
        remember_dataset(folder, state_dir)
    return OpenedDataset(TrainingSamples(folder), heads, first_classes(folder))


def slides_job(save: Job[int] | None, folder: Path, ends_before: str) -> Job[None]:
    """Save what is not in the dataset yet, then say how the names of its images tell of their slides.

    Args:
        save: The job that saves.
        folder: The dataset; made if it is not there.
        ends_before: See `DatasetFolder.find_slides`.
    """
    from ...formats import DatasetFolder

    if save is not None:
        yield from save
    yield Progress(0, 0, "Looking for the slides")
    dataset = DatasetFolder.open(folder) if DatasetFolder.exists(folder) else DatasetFolder.create(folder, ())
    dataset.find_slides(ends_before)
