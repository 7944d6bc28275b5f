"""Jobs of the Train dock; slow imports happen in the worker thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from ...jobs import Job, Progress
from ...settings import setting
from ..background.native_libraries import import_triton_isolated

if TYPE_CHECKING:
    from ...predict import Model
    from ...training import TrainingConfig
    from ...training.rounds.heads_in_use import HeadsInUse
    from ...training.rounds.rounds import DatasetSummary, Round, TrainingCurves


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Training settings that the user can change."""

    kind: str = setting("cnn", choices=("cnn",), label="Head", tooltip="The kind of head to train")
    """Name in `heads.registry`; the dock lists the other kinds once they are loaded."""
    epochs: int = setting(20, min=1, max=500, label="Max. epochs")
    """Maximum number of passes over the training images; training stops early if validation does not improve."""
    flips_and_rotations: bool = setting(False, label="Flips and rotations")
    """Train on all eight flips and rotations of each image: better with few images, but the first run is slower."""


def kinds_job() -> Job[dict[str, str]]:
    """Make a job that lists the kinds of heads with their summaries."""
    yield Progress(0, 0, "Listing the kinds of heads")
    import_triton_isolated()
    from ...heads import registry

    return {name: registry[name].summary for name in registry}


def summary_job(folder: Path, previous: DatasetSummary | None) -> Job[DatasetSummary | None]:
    """Make a job that summarises a dataset; only images that changed since the previous summary are read."""
    yield Progress(0, 0, "Reading the dataset")
    import_triton_isolated()
    from ...training.rounds.rounds import dataset_summary_job

    return (yield from dataset_summary_job(folder, previous))


def train_job(
    save: Job[int] | None,
    folder: Path,
    heads: HeadsInUse,
    settings: TrainingSettings,
    model: Model | str,
    curves: TrainingCurves,
    stop: Event,
) -> Job[Round]:
    """Make a job that runs `save`, trains a head on a dataset, and compares it with the head in use.

    It fills `curves`, and keeps the best epoch so far when `stop` is set.
    """
    import_triton_isolated()
    from ...training.rounds.rounds import round_job

    if save is not None:
        yield from save
    config = config_of(settings)
    return (yield from round_job(folder, heads, settings.kind, model, config, curves, stop))


def config_of(settings: TrainingSettings) -> TrainingConfig:
    """Return the configuration of a run with these settings."""
    from ...training import TrainingConfig

    augmentation = "dihedral" if settings.flips_and_rotations else "none"
    return TrainingConfig(epochs=settings.epochs, augmentation=augmentation)
