"""A new head beside the previous one on the images that neither was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...arrays import ClassInfo, UInt8Array
from ...config import load_config
from ...errors import DatasetError
from ...geometry import Frame, tiles
from ...heads import LoadedHead, load_head
from ...jobs import Job, Progress, run
from ...predict import Model, load_model_job
from ...predict.segmentation import check_match, segment_job
from ...store import Store
from ..data.dataset import IGNORED, Dataset, Sample
from ..evaluation.metrics import Confusion, confusion, dice, summarise
from ..heads.config import TrainingConfig
from ..heads.train import choose_samples

WORST = 3
THUMBNAIL_PX = 160
_NOT_ANNOTATED = 0.45
"""Brightness that unverified pixels keep."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One line of the comparison."""

    name: str
    """Of the class; "mean" for the mean over classes."""
    color: tuple[int, int, int] | None
    """Of the class; None for the mean."""
    new: float | None
    """Mean Dice of the new head over the tiles in which the class is true or predicted, 0..1; None if in none."""
    previous: float | None
    """The same of the previous head; None, too, if there is none, or if it does not know the class."""


@dataclass(frozen=True, slots=True, eq=False)
class WorstTile:
    """A tile on which the new head does badly, as small pictures of one size (h, w, 3) uint8."""

    name: str
    """Of the image."""
    place_rc: tuple[int, int]
    """First (row, col) of the tile."""
    dice: float
    previous_dice: float | None
    truth: UInt8Array
    """The image with the annotated classes; unverified pixels are darker."""
    new: UInt8Array
    """The image with what the new head finds."""
    previous: UInt8Array | None


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """How a new head does beside the previous one."""

    new: str
    """Name of the new head."""
    previous: str | None
    """Name of the previous one; None if there is none."""
    measured_on: str
    """What the tiles are of: "val", or the training images for want of others."""
    tiles: int
    scores: tuple[ClassScore, ...]
    """One for each class but the rest, then the mean."""
    worst: tuple[WorstTile, ...]

    @property
    def gain(self) -> float | None:
        """Mean Dice of the new head above that of the previous one."""
        mean = self.scores[-1]
        return None if mean.new is None or mean.previous is None else mean.new - mean.previous


def compare_job(
    dataset: Dataset, new: str | Path, previous: str | Path | None, model: Model | None = None
) -> Job[Comparison]:
    """Make a job that scores two heads on the validation split; on the training split where there is no other.

    Classes are compared by name, so that the previous head may know fewer of them.

    Args:
        dataset: The dataset.
        new: Bundle of the new head.
        previous: Bundle of the previous one.
        model: A loaded model, for those of the heads that read its features; other models are loaded.

    Raises:
        DatasetError: If nothing is annotated in these images, or one cannot be read.
        WeightsError: If a bundle is damaged, or was trained on other weights of its encoder.
    """
    _, samples, measured_on = choose_samples(dataset, TrainingConfig())
    heads = [load_head(path) for path in (new, previous) if path is not None]
    models: list[Model] = []
    for head in heads:
        models.append((yield from _model_for(head, [*models, *([] if model is None else [model])])))
    seen: list[_Seen] = []
    for number, sample in enumerate(samples):
        yield Progress(number, len(samples), "Comparing the heads", "images")
        example = dataset.read(sample)
        answers = []
        for head, one in zip(heads, models, strict=True):
            result = run(segment_job(example.pixels, head, one))
            answers.append(_to_channels(result.labels, head, dataset))
        seen += _tiles_of(dataset, sample, example.targets, answers)
    yield Progress(len(samples), len(samples), "Comparing the heads", "images")
    if not seen:
        raise DatasetError(
            f"In the images of '{dataset.name}' to compare on nothing is annotated; annotate some."
        )
    worst = sorted(seen, key=lambda one: one.dice[0])[:WORST]
    return Comparison(
        heads[0].name,
        heads[1].name if len(heads) > 1 else None,
        measured_on,
        len(seen),
        _scores(dataset, heads, seen),
        tuple(_picture(dataset, one) for one in worst),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """One tile and what the heads made of it."""

    sample: Sample
    frame: Frame
    matrices: tuple[Confusion, ...]
    dice: tuple[float, ...]
    answers: tuple[UInt8Array, ...]
    """(H, W) class index of each pixel of the tile."""


def _model_for(head: LoadedHead, known: list[Model]) -> Job[Model]:
    """Find or load the model whose features a head reads."""
    for model in known:
        if model.name == head.encoder_name:
            check_match(head, model)
            return model
    settings = load_config()
    model = yield from load_model_job(head.encoder_name, settings.device, store=Store.from_config(settings))
    check_match(head, model)
    return model


def _to_channels(labels: UInt8Array, head: LoadedHead, dataset: Dataset) -> UInt8Array:
    """Turn a head's class ids into indices into the dataset's classes, found by name; others count as the first."""
    by_name = {info.name: index for index, info in enumerate(dataset.classes)}
    table = np.zeros(256, dtype=np.uint8)
    for info in head.classes:
        table[info.id] = by_name.get(info.name, 0)
    return table[labels]


def _tiles_of(
    dataset: Dataset, sample: Sample, targets: UInt8Array, answers: list[UInt8Array]
) -> list[_Seen]:
    """Count tile by tile; tiles of which nothing is annotated are left out."""
    counted = [index for index, info in enumerate(dataset.classes) if info.id > 0]
    seen = []
    for frame in tiles((targets.shape[0], targets.shape[1])):
        true = targets[frame.slices]
        if (true == IGNORED).all():
            continue
        parts = tuple(one[frame.slices] for one in answers)
        matrices = tuple(confusion(one, true, len(dataset.classes)) for one in parts)
        scores = []
        for matrix in matrices:
            known = dice(matrix)[counted]
            known = known[~np.isnan(known)]
            # Nothing there and nothing found is all right.
            scores.append(float(known.mean()) if known.size else 1.0)
        seen.append(_Seen(sample, frame, matrices, tuple(scores), parts))
    return seen


def _scores(dataset: Dataset, heads: list[LoadedHead], seen: list[_Seen]) -> tuple[ClassScore, ...]:
    tables = [
        summarise([one.matrices[k] for one in seen], dataset.classes)["per_image"] for k in range(len(heads))
    ]
    rows = []
    for info in (*(one for one in dataset.classes if one.id > 0), None):
        name = "mean" if info is None else info.name
        values = [
            table[name]["dice"] if info is None or info.name in {c.name for c in head.classes} else None
            for table, head in zip(tables, heads, strict=True)
        ]
        rows.append(ClassScore(name, None if info is None else info.color, *[*values, None][:2]))
    return tuple(rows)


def _picture(dataset: Dataset, seen: _Seen) -> WorstTile:
    """Paint the small pictures of a tile."""
    example = dataset.read(seen.sample)
    pixels, targets = example.pixels[seen.frame.slices], example.targets[seen.frame.slices]
    step = max(1, -(-max(pixels.shape[:2]) // (2 * THUMBNAIL_PX)))
    pixels, targets = pixels[::step, ::step], targets[::step, ::step]
    dark = np.where((targets == IGNORED)[..., None], pixels * _NOT_ANNOTATED, pixels).astype(np.uint8)
    found = [_thumbnail(overlay(pixels, one[::step, ::step], dataset.classes)) for one in seen.answers]
    return WorstTile(
        seen.sample.name,
        (seen.frame.top, seen.frame.left),
        seen.dice[0],
        seen.dice[1] if len(seen.dice) > 1 else None,
        _thumbnail(overlay(dark, targets, dataset.classes)),
        found[0],
        found[1] if len(found) > 1 else None,
    )


def overlay(pixels: UInt8Array, indices: UInt8Array, classes: tuple[ClassInfo, ...]) -> UInt8Array:
    """Lay class colours over an image.

    Args:
        pixels: (H, W, 3) uint8.
        indices: (H, W) index into `classes`; others, and the class with id 0, leave the pixel as it is.
        classes: The classes.
    """
    mixed = pixels.astype(np.float32)
    for index, info in enumerate(classes):
        if info.id > 0:
            inside = indices == index
            mixed[inside] = 0.45 * mixed[inside] + 0.55 * np.array(info.color, dtype=np.float32)
    return mixed.astype(np.uint8)


def _thumbnail(pixels: UInt8Array) -> UInt8Array:
    picture = Image.fromarray(pixels)
    picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return np.asarray(picture)
