"""One round of retraining: summarise a dataset, train a new head on it, and compare it with the current head."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

from PIL import Image

from ...arrays import ClassInfo
from ...errors import SampathError, StorageError
from ...files import write_atomically
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

logger = logging.getLogger(__name__)

MAX_POINTS = 2000
"""Maximum number of points of a curve; from a longer curve, every second point is removed."""


@dataclass(frozen=True, slots=True)
class DatasetSummary:
    """Images and annotations of a dataset that are available for training."""

    name: str
    images: Mapping[str, int]
    """Split -> number of images."""
    classes: tuple[ClassInfo, ...]
    """Classes, with the background first."""
    annotated_px: Mapping[str, tuple[int, ...]]
    """Split -> number of verified pixels of each class."""
    total_px: int
    """Number of pixels in all images, verified or not."""
    slides: int = 0
    """Number of slides or cases."""
    slide_ends_before: str = ""
    """Text that follows the slide name in image names; see `DatasetFolder.find_slides`."""
    problems: tuple[str, ...] = ()
    """One sentence for each image that cannot be read."""
    cached: Mapping[str, tuple[DatasetImage, ImageFacts]] = field(default_factory=dict, repr=False)
    """Image name -> entry and properties, so that the next summary reads only the images that changed."""


@dataclass(slots=True)
class TrainingCurves:
    """Curves of a training run, written by the training thread and read by other threads."""

    epochs: int = 0
    """Maximum number of epochs."""
    losses: list[tuple[float, float]] = field(default_factory=list)
    """Points (number of completed epochs, loss)."""
    dice: list[tuple[float, float]] = field(default_factory=list)
    """Points (number of completed epochs, mean Dice on the validation images)."""
    class_dice: Mapping[str, float | None] = field(default_factory=dict)
    """Class name -> Dice after the last completed epoch."""
    validated: bool = True
    """Whether there are validation images; otherwise no Dice is recorded."""

    def add(self, report: TrainingProgress) -> None:
        """Append the values of a progress report."""
        epochs = self.epochs * report.fraction
        if report.loss is not None:
            self.losses.append((epochs, report.loss))
            if len(self.losses) > MAX_POINTS:
                self.losses = self.losses[::2]
        if self.validated and report.dice is not None and abs(epochs - round(epochs)) < 1e-6:
            # The last step of an epoch still reports the previous Dice; replace it by that of the next report.
            kept = self.dice[:-1] if self.dice and self.dice[-1][0] == round(epochs) else self.dice
            self.dice = [*kept, (round(epochs), report.dice)]
            self.class_dice = dict(report.class_dice)


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """A newly trained head, and its comparison with the current head."""

    path: Path
    """Path of the head bundle."""
    comparison: Comparison | None
    """Comparison with the current head; None if it failed."""
    note: str = ""
    """Reason why the comparison failed, one sentence; empty if it succeeded."""


def dataset_summary_job(folder: Path, before: DatasetSummary | None = None) -> Job[DatasetSummary | None]:
    """Summarise a dataset, reusing its previous summary (`before`); return None if it has no images yet.

    Raises:
        DatasetError: If `dataset.json` cannot be read.
    """
    if not DatasetFolder.exists(folder):
        return None
    dataset_folder = DatasetFolder.open(folder)
    entries = dataset_folder.images
    if not entries:
        return None
    dataset = open_dataset(folder)
    reusable = {} if before is None or before.classes != dataset.classes else before.cached
    cached = {name: facts for name, facts in reusable.items() if entries.get(name) == facts[0]}
    changed = [sample for sample in dataset.samples if sample.name not in cached]
    inspection = yield from inspect_job(dataset, changed, "Reading the dataset")
    for facts in inspection.images:
        name = facts.sample.name
        cached[name] = (entries[name], facts)
    splits = {sample.name: sample.split for sample in dataset.samples}
    class_px: dict[str, tuple[int, ...]] = {}
    for name, (_, facts) in cached.items():
        total = class_px.get(splits[name], (0,) * len(dataset.classes))
        class_px[splits[name]] = tuple(a + b for a, b in zip(total, facts.class_px, strict=True))
    return DatasetSummary(
        dataset.name,
        dict(sorted(Counter(splits.values()).items())),
        dataset.classes,
        class_px,
        sum(facts.hw[0] * facts.hw[1] for _, facts in cached.values()),
        len({entry.slide for entry in entries.values()}),
        dataset_folder.slide_ends_before,
        tuple(inspection.problems),
        cached,
    )


def round_job(
    folder: Path,
    heads: HeadsInUse,
    kind: str,
    model: Model | str,
    config: TrainingConfig | None = None,
    curves: TrainingCurves | None = None,
    stop: Event | None = None,
) -> Job[Round]:
    """Train a head of a given kind on a dataset, and compare it with the current head; see `train`.

    The new head is not offered; to do so, call `heads.offer` with its path. `curves` is filled during training; if no
    image is left for validation, they contain no Dice, because the Dice of training images would be misleading. Setting
    `stop` ends training early and keeps the best epoch.
    """
    config, curves = config or TrainingConfig(), curves or TrainingCurves()
    curves.epochs = config.epochs
    dataset = open_dataset(folder)
    curves.validated = any(sample.split == "val" for sample in dataset.samples)
    path = heads.new_path(kind)
    try:
        yield from _record(train_job(dataset, kind, config, model, path, stop), curves)
    except GeneratorExit:
        # Remove the checkpoint, because the next run has another name and cannot resume this one.
        checkpoint.checkpoint_path(path).unlink(missing_ok=True)
        path.with_suffix(".csv").unlink(missing_ok=True)
        raise
    try:
        loaded = model if isinstance(model, Model) else None
        comparison = yield from compare_job(dataset, path, heads.current, loaded)
    except SampathError as error:
        return Round(path, None, str(error))
    _save_picture(path, comparison)
    return Round(path, comparison)


def _save_picture(path: Path, comparison: Comparison) -> None:
    """Save a result of a new head beside its bundle, for its card; a head without a picture can be used as well."""
    if not comparison.worst:
        return
    image = Image.fromarray(comparison.worst[-1].new)
    try:
        write_atomically(path.with_suffix(".png"), lambda stream: image.save(stream, format="PNG"))
    except StorageError as error:
        logger.warning("The picture of the head '%s' was not saved: %s", path.stem, error)


def _record(job: Job[Path], curves: TrainingCurves) -> Job[None]:
    try:
        for progress in job:
            if isinstance(progress, TrainingProgress):
                curves.add(progress)
            yield progress
    finally:
        job.close()
