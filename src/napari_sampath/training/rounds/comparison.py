"""Comparison of a new head with the previous one on images that neither was trained on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...arrays import ClassInfo, UInt8Array
from ...config import load_config
from ...errors import DatasetError
from ...geometry import Frame
from ...heads import LoadedHead, load_head
from ...jobs import Job, Progress, run
from ...predict import Model, load_model_job
from ...predict.segmentation import check_match, segment_job
from ...store import Store
from ...tiling import tiles
from ..data.dataset import IGNORED, Dataset, Sample
from ..evaluation.metrics import Confusion, best_constant, confusion, dice, summarise
from ..heads.config import TrainingConfig
from ..heads.train import choose_samples

WORST = 3
"""Number of worst tiles to show."""
THUMBNAIL_PX = 160
_NO_BETTER = 0.02
"""Mean Dice by which a head must exceed a constant result."""
_UNVERIFIED_BRIGHTNESS = 0.45
"""Brightness factor of pixels outside the verified area in thumbnails."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of both heads for one class."""

    name: str
    """Name of the class; "mean" for the mean over classes."""
    color: tuple[int, int, int] | None
    """Color of the class; None for the mean."""
    new: float | None
    """Mean Dice 0..1 of the new head over the tiles in which the class is true or predicted; None if there are none."""
    previous: float | None
    """Mean Dice of the previous head; also None if there is no previous head, or if it lacks the class."""


@dataclass(frozen=True, slots=True, eq=False)
class WorstTile:
    """A tile on which the new head scores low, with thumbnails (h, w, 3) uint8 of the same size."""

    name: str
    """Name of the image."""
    place_rc: tuple[int, int]
    """First (row, col) of the tile in the image."""
    dice: float
    previous_dice: float | None
    truth: UInt8Array
    """Thumbnail with the annotated classes; pixels outside the verified area are darker."""
    new: UInt8Array
    """Thumbnail with the classes that the new head predicts."""
    previous: UInt8Array | None
    """Thumbnail with the classes that the previous head predicts; None if there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Scores of a new head and of the previous head."""

    new: str
    """Name of the new head."""
    previous: str | None
    """Name of the previous head; None if there is none."""
    measured_on: str
    """Images that were scored: "val", or a description of the training images if there is no validation split."""
    tiles: int
    """Number of scored tiles."""
    scores: tuple[ClassScore, ...]
    """One score per class except the background, followed by the mean."""
    worst: tuple[WorstTile, ...]
    images: int = 0
    """Number of images that were scored."""
    labelled: tuple[str, ...] = ()
    """Names of the classes, with the background, that the verified pixels of these images have."""
    constant: tuple[str, float] | None = None
    """The class with which painting everything scores best, and the mean Dice of doing so; None if no class is
    labelled."""

    @property
    def measured(self) -> bool:
        """Whether the scores are meaningful: measured on images without training labels, with several classes."""
        return self.measured_on == "val" and len(self.labelled) > 1

    @property
    def doubt(self) -> str | None:
        """Why the scores do not show that the new head is useful, one sentence; None if they do."""
        mean = self.scores[-1].new
        if self.measured_on != "val":
            return (
                "Its quality is not measured, because all images show one slide; look at its result on other images, "
                "or annotate an image of another slide."
            )
        if len(self.labelled) < 2:
            return (
                f"Its quality is not measured, because all verified pixels of the validation images are "
                f"'{self.labelled[0] if self.labelled else 'missing'}'; mark an area as verified there."
            )
        if mean is None:
            return "Its quality is not measured, because the validation images have none of its classes."
        if self.constant is not None and mean <= self.constant[1] + _NO_BETTER:
            return (
                f"It is no better than calling everything '{self.constant[0]}'; annotate more, or train for more "
                "epochs."
            )
        return None

    @property
    def gain(self) -> float | None:
        """Mean Dice of the new head minus that of the previous head; None if one of them is missing."""
        mean = self.scores[-1]
        return None if mean.new is None or mean.previous is None else mean.new - mean.previous


@dataclass(frozen=True, slots=True, eq=False)
class _Tile:
    """One tile, and the predictions and scores of each head, the new one first."""

    sample: Sample
    frame: Frame
    matrices: tuple[Confusion, ...]
    dice: tuple[float, ...]
    predictions: tuple[UInt8Array, ...]
    """(H, W) class index of each pixel of the tile."""


def compare_job(
    dataset: Dataset, new: str | Path, previous: str | Path | None, model: Model | None = None
) -> Job[Comparison]:
    """Score two heads on the validation split, or on the training split if there is none.

    Classes are matched by name, so the previous head may lack some of them. `model` is used for the heads that were
    trained on it; other models are loaded.

    Raises:
        DatasetError: If the images have no verified pixels or cannot be read.
        WeightsError: If a head bundle is damaged, or its head was trained on other weights of the encoder.
    """
    _, samples, measured_on = choose_samples(dataset, TrainingConfig())
    heads = [load_head(path) for path in (new, previous) if path is not None]
    models: list[Model] = []
    for head in heads:
        models.append((yield from _model_for(head, [*models, *([] if model is None else [model])])))
    scored: list[_Tile] = []
    for number, sample in enumerate(samples):
        yield Progress(number, len(samples), "Comparing the heads", "images")
        example = dataset.read(sample)
        predictions = []
        for head, head_model in zip(heads, models, strict=True):
            result = run(segment_job(example.pixels, head, head_model, mpp=sample.mpp))
            predictions.append(_to_indices(result.labels, head, dataset))
        scored += _score_tiles(dataset, sample, example.targets, predictions)
    yield Progress(len(samples), len(samples), "Comparing the heads", "images")
    if not scored:
        raise DatasetError(
            f"The images of '{dataset.name}' for comparing heads contain no annotations; annotate at least one."
        )
    worst = sorted(scored, key=lambda tile: tile.dice[0])[:WORST]
    return Comparison(
        heads[0].name,
        heads[1].name if len(heads) > 1 else None,
        measured_on,
        len(scored),
        _class_scores(dataset, heads, scored),
        tuple(_draw(dataset, tile) for tile in worst),
        len(samples),
        _labelled(dataset, scored),
        _constant(dataset, scored),
    )


def _labelled(dataset: Dataset, scored: list[_Tile]) -> tuple[str, ...]:
    pixels = np.sum([tile.matrices[0].sum(axis=1) for tile in scored], axis=0)
    return tuple(info.name for info, count in zip(dataset.classes, pixels, strict=True) if count)


def _constant(dataset: Dataset, scored: list[_Tile]) -> tuple[str, float] | None:
    """Return the best constant prediction and its mean Dice."""
    if all(info.id == 0 for info in dataset.classes):
        return None
    name, scores = best_constant([tile.matrices[0] for tile in scored], dataset.classes)
    mean = scores["per_image"]["mean"]["dice"]
    return None if mean is None else (name.removeprefix("all "), float(mean))


def _model_for(head: LoadedHead, loaded: list[Model]) -> Job[Model]:
    model = next((model for model in loaded if model.name == head.encoder_name), None)
    if model is None:
        config = load_config()
        model = yield from load_model_job(head.encoder_name, config.device, store=Store.from_config(config))
    check_match(head, model)
    return model


def _to_indices(labels: UInt8Array, head: LoadedHead, dataset: Dataset) -> UInt8Array:
    """Map the class ids of a head to indices into `dataset.classes` by name; other classes become index 0."""
    by_name = {info.name: index for index, info in enumerate(dataset.classes)}
    table = np.zeros(256, dtype=np.uint8)
    for info in head.classes:
        table[info.id] = by_name.get(info.name, 0)
    return table[labels]


def _score_tiles(
    dataset: Dataset, sample: Sample, targets: UInt8Array, predictions: list[UInt8Array]
) -> list[_Tile]:
    counted = [index for index, info in enumerate(dataset.classes) if info.id > 0]
    scored = []
    for frame in tiles((targets.shape[0], targets.shape[1])):
        true = targets[frame.slices]
        if (true == IGNORED).all():
            continue
        parts = tuple(labels[frame.slices] for labels in predictions)
        matrices = tuple(confusion(part, true, len(dataset.classes)) for part in parts)
        values = [dice(matrix)[counted] for matrix in matrices]
        # A tile in which no class is true or predicted counts as perfect.
        means = tuple(1.0 if np.isnan(v).all() else float(np.nanmean(v)) for v in values)
        scored.append(_Tile(sample, frame, matrices, means, parts))
    return scored


def _class_scores(dataset: Dataset, heads: list[LoadedHead], scored: list[_Tile]) -> tuple[ClassScore, ...]:
    tables = [
        summarise([tile.matrices[k] for tile in scored], dataset.classes)["per_image"]
        for k in range(len(heads))
    ]
    rows = []
    for info in (*(info for info in dataset.classes if info.id > 0), None):
        name = "mean" if info is None else info.name
        values = [
            table[name]["dice"] if info is None or info.name in {c.name for c in head.classes} else None
            for table, head in zip(tables, heads, strict=True)
        ]
        rows.append(ClassScore(name, None if info is None else info.color, *[*values, None][:2]))
    return tuple(rows)


def _draw(dataset: Dataset, tile: _Tile) -> WorstTile:
    example = dataset.read(tile.sample)
    pixels, targets = example.pixels[tile.frame.slices], example.targets[tile.frame.slices]
    step = max(1, -(-max(pixels.shape[:2]) // (2 * THUMBNAIL_PX)))
    pixels, targets = pixels[::step, ::step], targets[::step, ::step]
    dark = np.where((targets == IGNORED)[..., None], pixels * _UNVERIFIED_BRIGHTNESS, pixels).astype(np.uint8)
    predicted = [_overlay(pixels, labels[::step, ::step], dataset.classes) for labels in tile.predictions]
    return WorstTile(
        tile.sample.name,
        (tile.frame.top, tile.frame.left),
        tile.dice[0],
        tile.dice[1] if len(tile.dice) > 1 else None,
        _overlay(dark, targets, dataset.classes),
        predicted[0],
        predicted[1] if len(predicted) > 1 else None,
    )


def _overlay(pixels: UInt8Array, indices: UInt8Array, classes: tuple[ClassInfo, ...]) -> UInt8Array:
    """Blend class colours over pixels (H, W, 3), except the background, and shrink the result to a thumbnail."""
    mixed = pixels.astype(np.float32)
    for index, info in enumerate(classes):
        if info.id > 0:
            inside = indices == index
            mixed[inside] = 0.45 * mixed[inside] + 0.55 * np.array(info.color, dtype=np.float32)
    image = Image.fromarray(mixed.astype(np.uint8))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    return np.asarray(image)
