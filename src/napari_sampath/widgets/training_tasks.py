"""The jobs of the Train dock: what takes long is imported and done here, in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..jobs import Job, Progress
from .native import import_triton_apart

if TYPE_CHECKING:
    from pathlib import Path

    from ..arrays import ClassInfo
    from ..predict import Model
    from ..session import TrainingSamples
    from ..training.heads_in_use import HeadsInUse
    from ..training.rounds import Course, Holdings, Round


@dataclass(frozen=True, slots=True)
class HeadKind:
    """A kind of head that can be trained."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user wants to train."""

    kind: str = "cnn"
    epochs: int = 20
    turned: bool = False
    """Learn from each image in eight views, turned and mirrored."""


@dataclass(frozen=True, slots=True, eq=False)
class OpenedDesk:
    """A dataset in use."""

    samples: TrainingSamples
    heads: HeadsInUse
    classes: tuple[ClassInfo, ...]
    """Of the dataset; none before it has a sample."""


def desk_job(folder: Path | None, state_dir: Path | None) -> Job[OpenedDesk | None]:
    """Open a dataset and find out which head is in use.

    Args:
        folder: The dataset, which is remembered; the one remembered last if left out.
        state_dir: Where it is remembered; the user's folder if left out.

    Returns:
        None if no folder was given and none is remembered.
    """
    yield Progress(0, 0, "Opening the dataset")
    from ..config import load_config
    from ..session import TrainingSamples, first_classes, remember_dataset, remembered_dataset

    state_dir = state_dir or load_config().sessions_dir
    known = remembered_dataset(state_dir)
    if folder is None:
        folder = known
        if folder is None:
            return None
    import_triton_apart()
    from ..training.heads_in_use import HeadsInUse

    heads = HeadsInUse(folder)
    if folder != known:
        folder.expanduser().mkdir(parents=True, exist_ok=True)
        remember_dataset(folder, state_dir)
    return OpenedDesk(TrainingSamples(folder), heads, first_classes(folder))


def kinds_job() -> Job[tuple[HeadKind, ...]]:
    """List the kinds of head; the first time this imports torch, which takes seconds."""
    yield Progress(0, 0, "Looking up the kinds of head")
    import_triton_apart()
    from ..heads import registry

    return tuple(HeadKind(name, registry[name].summary) for name in registry)


def slides_job(save: Job[int] | None, folder: Path, ends_before: str) -> Job[None]:
    """Save what is not in the dataset yet, then say how the names of its images tell of their slides.

    Args:
        save: The job that saves.
        folder: The dataset; made if it is not there.
        ends_before: See `DatasetFolder.find_slides`.
    """
    from ..formats import DatasetFolder

    if save is not None:
        yield from save
    yield Progress(0, 0, "Looking for the slides")
    dataset = DatasetFolder.open(folder) if DatasetFolder.exists(folder) else DatasetFolder.create(folder, ())
    dataset.find_slides(ends_before)


def held_job(folder: Path, before: Holdings | None) -> Job[Holdings | None]:
    """Say what a dataset holds."""
    yield Progress(0, 0, "Looking at the dataset")
    import_triton_apart()
    from ..training.rounds import holdings_job

    return (yield from holdings_job(folder, before))


def train_job(
    save: Job[int] | None, folder: Path, heads: HeadsInUse, wish: Wish, model: Model | str, course: Course
) -> Job[Round]:
    """Save what is not in the dataset yet, train a head and compare it with the one in use.

    Args:
        save: The job that saves.
        folder: The dataset.
        heads: Its heads.
        wish: What to train.
        model: The encoder, loaded or by name.
        course: Filled while training goes on.
    """
    import_triton_apart()
    from ..training import TrainingConfig
    from ..training.rounds import round_job

    if save is not None:
        yield from save
    config = TrainingConfig(epochs=wish.epochs, augmentation="dihedral" if wish.turned else "none")
    return (yield from round_job(folder, heads, wish.kind, model, config, course))
