"""One round of correct, retrain, predict: what a dataset holds, and a new head trained on it beside the one in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...arrays import ClassInfo
from ...errors import SampathError
from ...formats import DatasetFolder
from ...formats.dataset.manifest import DatasetImage
from ...jobs import Job
from ...predict import Model
from ..data.check import ImageFacts, inspect_job
from ..data.readers import open_dataset
from ..heads import checkpoint
from ..heads.config import TrainingConfig
from ..heads.train import train_job
from ..heads.trainer import TrainingProgress
from .comparison import Comparison, compare_job
from .heads_in_use import HeadsInUse

MAX_POINTS = 2000
"""Points of a curve that are kept; of a longer one every second goes, again and again."""


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """What a dataset holds to train on."""

    name: str
    images: Mapping[str, int]
    """Split -> number of images."""
    classes: tuple[ClassInfo, ...]
    """The rest, which is annotated as none of the others, comes first."""
    annotated_px: Mapping[str, tuple[int, ...]]
    """Split -> annotated pixels of each class."""
    total_px: int
    """Pixels of all images, annotated or not."""
    slides: int = 0
    """Number of slides or cases the images are of."""
    slide_ends_before: str = ""
    """See `DatasetFolder.find_slides`."""
    problems: tuple[str, ...] = ()
    """A sentence for each image that cannot be read."""
    known: Mapping[str, tuple[DatasetImage, ImageFacts]] = field(default_factory=dict, repr=False)
    """What was found in each image, so that the next look reads only those that changed."""


@dataclass(slots=True)
class TrainingCurves:
    """What a training run has reported so far, for curves; written by the run's thread and read by any."""

    epochs: int = 0
    """Largest number of passes over the training images."""
    losses: list[tuple[float, float]] = field(default_factory=list)
    """(passes done, loss)."""
    dice: list[tuple[float, float]] = field(default_factory=list)
    """(passes done, mean Dice on the validation images)."""
    class_dice: Mapping[str, float | None] = field(default_factory=dict)
    """By class, after the last pass."""

    def add(self, report: TrainingProgress) -> None:
        """Take one report."""
        passes = self.epochs * report.fraction
        if report.loss is not None:
            self.losses.append((passes, report.loss))
            if len(self.losses) > MAX_POINTS:
                self.losses = self.losses[::2]
        if report.dice is not None and abs(passes - round(passes)) < 1e-6:
            # The last step of a pass still tells the Dice before it; the report after it replaces that.
            kept = self.dice[:-1] if self.dice and self.dice[-1][0] == round(passes) else self.dice
            self.dice = [*kept, (round(passes), report.dice)]
            self.class_dice = dict(report.class_dice)


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A head that was trained."""

    path: Path
    """Its bundle."""
    comparison: Comparison | None
    """None if it could not be compared."""
    note: str = ""
    """Why not, a sentence."""


def dataset_summary_job(folder: Path, before: DatasetSummary | None = None) -> Job[DatasetSummary | None]:
    """Make a job that says what a dataset holds; None while nothing has been saved to it.

    Args:
        folder: The dataset.
        before: What it held at the last look.

    Raises:
        DatasetError: If its `dataset.json` cannot be used.
    """
    if not DatasetFolder.exists(folder):
        return None
    there = DatasetFolder.open(folder)
    entries = there.images
    if not entries:
        return None
    dataset = open_dataset(folder)
    known = {
        name: found
        for name, found in (
            {} if before is None or before.classes != dataset.classes else before.known
        ).items()
        if entries.get(name) == found[0]
    }
    fresh = [sample for sample in dataset.samples if sample.name not in known]
    findings = yield from inspect_job(dataset, fresh, "Looking at the dataset")
    for facts in findings.images:
        name = facts.sample.name
        known[name] = (entries[name], facts)
    splits = {sample.name: sample.split for sample in dataset.samples}
    area: dict[str, tuple[int, ...]] = {}
    for name, (_, facts) in known.items():
        so_far = area.get(splits[name], (0,) * len(dataset.classes))
        area[splits[name]] = tuple(a + b for a, b in zip(so_far, facts.class_px, strict=True))
    return DatasetSummary(
        dataset.name,
        {split: sum(one == split for one in splits.values()) for split in sorted(set(splits.values()))},
        dataset.classes,
        area,
        sum(facts.hw[0] * facts.hw[1] for _, facts in known.values()),
        len({entry.slide for entry in entries.values()}),
        there.slide_ends_before,
        tuple(findings.problems),
        known,
    )


def round_job(
    folder: Path,
    heads: HeadsInUse,
    kind: str,
    model: Model | str,
    config: TrainingConfig | None = None,
    curves: TrainingCurves | None = None,
) -> Job[Round]:
    """Make a job that trains a head on a dataset and compares it with the one in use.

    The head is not offered yet: whoever runs the job calls `heads.offer` with its path.

    Args:
        folder: The dataset.
        heads: The heads trained on it.
        kind: One of `list_heads()`.
        model: The encoder, loaded or by name.
        config: The recipe.
        curves: Filled while training goes on.

    Raises:
        SampathError: As `train`.
    """
    config, curves = config or TrainingConfig(), curves or TrainingCurves()
    curves.epochs = config.epochs
    dataset = open_dataset(folder)
    path = heads.new_path(kind)
    job = train_job(dataset, kind, config, model, path)
    try:
        yield from _followed(job, curves)
    except GeneratorExit:
        # Nobody will go on with it: the next run has another name.
        checkpoint.checkpoint_path(path).unlink(missing_ok=True)
        path.with_suffix(".csv").unlink(missing_ok=True)
        raise
    try:
        known = model if isinstance(model, Model) else None
        comparison = yield from compare_job(dataset, path, heads.current, known)
    except SampathError as error:
        return Round(path, None, str(error))
    return Round(path, comparison)


def _followed(job: Job[Path], curves: TrainingCurves) -> Job[Path]:
    while True:
        try:
            progress = next(job)
        except StopIteration as stop:
            path: Path = stop.value
            return path
        if isinstance(progress, TrainingProgress):
            curves.add(progress)
        try:
            yield progress
        except GeneratorExit:
            job.close()
            raise
