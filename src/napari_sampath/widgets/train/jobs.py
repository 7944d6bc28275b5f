"""The jobs of the Train dock: what takes long is imported and done here, in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...jobs import Job, Progress
from ..background.native_libraries import import_triton_apart

if TYPE_CHECKING:
    from pathlib import Path

    from ...predict import Model
    from ...training.rounds.heads_in_use import HeadsInUse
    from ...training.rounds.rounds import DatasetSummary, Round, TrainingCurves


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


def kinds_job() -> Job[tuple[HeadKind, ...]]:
    """List the kinds of head; the first time this imports torch, which takes seconds."""
    yield Progress(0, 0, "Looking up the kinds of head")
    import_triton_apart()
    from ...heads import registry

    return tuple(HeadKind(name, registry[name].summary) for name in registry)


def held_job(folder: Path, before: DatasetSummary | None) -> Job[DatasetSummary | None]:
    """Say what a dataset holds."""
    yield Progress(0, 0, "Looking at the dataset")
    import_triton_apart()
    from ...training.rounds.rounds import dataset_summary_job

    return (yield from dataset_summary_job(folder, before))


def train_job(
    save: Job[int] | None,
    folder: Path,
    heads: HeadsInUse,
    wish: Wish,
    model: Model | str,
    curves: TrainingCurves,
) -> Job[Round]:
    """Save what is not in the dataset yet, train a head and compare it with the one in use.

    Args:
        save: The job that saves.
        folder: The dataset.
        heads: Its heads.
        wish: What to train.
        model: The encoder, loaded or by name.
        curves: Filled while training goes on.
    """
    import_triton_apart()
    from ...training import TrainingConfig
    from ...training.rounds.rounds import round_job

    if save is not None:
        yield from save
    config = TrainingConfig(epochs=wish.epochs, augmentation="dihedral" if wish.turned else "none")
    return (yield from round_job(folder, heads, wish.kind, model, config, curves))
