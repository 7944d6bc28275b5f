"""Jobs of the Train dock; slow imports and all work happen in the thread."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...jobs import Job, Progress
from ...settings import setting
from ..background.native_libraries import import_triton_isolated

if TYPE_CHECKING:
    from ...predict import Model
    from ...training.rounds.heads_in_use import HeadsInUse
    from ...training.rounds.rounds import DatasetSummary, Round, TrainingCurves


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What the user wants to train."""

    kind: str = setting("cnn", choices=("cnn",), label="Head", tooltip="The kind of head to train")
    """A name in `heads.registry`; the dock lists the other kinds once they are known."""
    epochs: int = setting(20, min=1, max=500, label="Max. epochs")
    """Largest number of passes over the training images; training stops earlier when validation no longer improves."""
    flips_and_rotations: bool = setting(False, label="Flips and rotations")
    """Train on eight views of each image: better with few images, but the first run takes eight times as long."""


def kinds_job() -> Job[dict[str, str]]:
    """List the kinds of heads with their summaries; the first call imports torch, which takes seconds."""
    yield Progress(0, 0, "Listing the kinds of heads")
    import_triton_isolated()
    from ...heads import registry

    return {name: registry[name].summary for name in registry}


def summary_job(folder: Path, previous: DatasetSummary | None) -> Job[DatasetSummary | None]:
    """Summarise a dataset; only images that changed since the previous summary are read."""
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
) -> Job[Round]:
    """Run `save`, train a head on the dataset in `folder` and compare it with the one in use; fills `curves`."""
    import_triton_isolated()
    from ...training import TrainingConfig
    from ...training.rounds.rounds import round_job

    if save is not None:
        yield from save
    augmentation = "dihedral" if settings.flips_and_rotations else "none"
    config = TrainingConfig(epochs=settings.epochs, augmentation=augmentation)
    return (yield from round_job(folder, heads, settings.kind, model, config, curves))
