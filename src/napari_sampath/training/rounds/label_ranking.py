"""Ranking of labels by how much they differ from the prediction of heads that were trained without the image.

As in confident learning (Northcutt et al. 2021, "Confident learning: estimating uncertainty in dataset labels",
section 3), the predictions are made out of fold. As in ObjectLab (Tkachenko et al. 2023, "ObjectLab: automated
diagnosis of mislabeled images in object detection data"), objects with a wrong class or place, and regions in which an
object is missing, are ranked together.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...arrays import LOGITS_PX, BoolArray, FloatArray, IntArray
from ...config import load_config
from ...geometry import Frame
from ...jobs import Job, Progress, run
from ...predict import Model
from ...store import Store
from ...tiling import Box
from ..data.dataset import IGNORED, Dataset, Sample
from ..data.instances import object_ids
from ..heads.tiles import Tile, TileSet, targets_on_grid
from .fold_heads import cells_job, fold_of, probabilities, train_heads_job

FOLDS = 5
SHARE = 0.1
"""Share of the labels that is listed by default."""
_SMALL = 0.25
"""Regions smaller than this share of the median object are not listed; they are mostly inaccurate edges."""
_LEAST = 1e-3
"""Smallest probability in a loss, so that single cells do not decide."""


@dataclass(frozen=True, slots=True)
class LabelLoss:
    """One object, or one region without a label, and the loss of its label."""

    image: str
    """Name of the image."""
    box: Box
    """Place (r0, c0, r1, c1) in image pixels."""
    object: int
    """Number of the object in the instance map, or of the connected component; 0 for a region without a label."""
    label: str
    """Class of the label."""
    predicted: str
    """Most probable class."""
    loss: float
    """Mean cross-entropy of the label over the object or region, in nats; higher is more suspicious."""

    @property
    def sentence(self) -> str:
        """Description of the label and the prediction."""
        row, col = self.box[:2]
        place = f"{self.image}, row {row}, column {col}"
        if not self.object:
            return f"{place}: an object '{self.predicted}' may be missing (loss {self.loss:.2f})."
        if self.predicted == self.label:
            return f"{place}: '{self.label}' {self.object} may have a wrong outline (loss {self.loss:.2f})."
        return f"{place}: '{self.label}' {self.object} looks like '{self.predicted}' (loss {self.loss:.2f})."


def rank_labels(
    dataset: Dataset,
    model: Model,
    folds: int = FOLDS,
    on_progress: Callable[[Progress], object] | None = None,
) -> list[LabelLoss]:
    """Rank all objects of a dataset, and regions that lack a label, by their out-of-fold loss.

    Args:
        dataset: The dataset; its splits do not matter.
        model: A loaded encoder.
        folds: Number of heads. Each is trained without a part of the slides, or of the images if there is only one
            slide, and checks the labels of this part.
        on_progress: Called with each `Progress`.

    Returns:
        The most suspicious label first.

    Raises:
        DatasetError: If there are fewer than two labelled images, or a file cannot be read.
    """
    return run(rank_labels_job(dataset, model, folds), on_progress)


def rank_labels_job(dataset: Dataset, model: Model, folds: int = FOLDS) -> Job[list[LabelLoss]]:
    """Rank labels as a job; see `rank_labels`. Nothing is written but encoder features, to the cache."""
    tiles = TileSet(dataset, model, model.store or Store.from_config(load_config()))
    yield from tiles.add_job(dataset.samples, "none", "Encoding the images")
    by_image: dict[str, list[Tile]] = defaultdict(list)
    for tile in tiles.tiles:
        by_image[tile.sample.name].append(tile)
    samples = [sample for sample in dataset.samples if sample.name in by_image]
    parts = fold_of(samples, folds)
    map_name = model.encoder.spec.maps[0].name
    cells = yield from cells_job(tiles, map_name, parts)
    heads = yield from train_heads_job(cells, len(dataset.classes))
    ranked: list[LabelLoss] = []
    sizes: list[int] = []
    for done, sample in enumerate(samples):
        yield Progress(done, len(samples), "Comparing the labels", "images")
        part = parts[sample.name]
        scorer = _Scorer(dataset, sample, sizes, cells.classes_without(part))
        for tile in by_image[sample.name]:
            features = tiles.features(tile)[map_name]
            scorer.add(tile, probabilities(heads[part], features, len(dataset.classes)))
        ranked += scorer.losses()
    yield Progress(len(samples), len(samples), "Comparing the labels", "images")
    return sorted(ranked, key=lambda entry: -entry.loss)


def most_suspicious(ranked: Sequence[LabelLoss], share: float = SHARE) -> list[LabelLoss]:
    """Return the first labels of a ranking, as many as the given share of the objects."""
    objects = sum(entry.object > 0 for entry in ranked)
    return list(ranked[: math.ceil(share * objects)])


def confusion_of(ranked: Sequence[LabelLoss]) -> dict[tuple[str, str], list[LabelLoss]]:
    """Group ranked labels by (label, predicted class), the cells of a confusion matrix."""
    cells: dict[tuple[str, str], list[LabelLoss]] = defaultdict(list)
    for entry in ranked:
        cells[entry.label, entry.predicted].append(entry)
    return dict(cells)


@dataclass(slots=True)
class _Sums:
    """Sums over the cells of one object, which may be in several tiles."""

    label: int
    """Index of the class."""
    probabilities: FloatArray
    """(K,) sum of the probability of each class."""
    cells: int = 0
    loss: float = 0.0


class _Scorer:
    """Computes the losses of the labels of one image from the predictions of its tiles.

    Args:
        dataset: The dataset.
        sample: The image.
        sizes: Sizes of the objects of earlier images, in cells of the logit grid; those of this image are appended.
        seen: Indices of the classes that the head was trained on.
    """

    def __init__(self, dataset: Dataset, sample: Sample, sizes: list[int], seen: frozenset[int]) -> None:
        self._seen = seen
        self._sample = sample
        self._names = [info.name for info in dataset.classes]
        self._has_background = dataset.classes[0].id == 0
        self._ids = np.maximum(object_ids(dataset, dataset.read(sample)), 0)
        self._earlier = sizes
        self._objects: dict[int, _Sums] = {}
        self._regions: list[LabelLoss] = []

    def add(self, tile: Tile, predicted: FloatArray) -> None:
        """Add the predicted probabilities (K, 256, 256) of a tile."""
        numbers = targets_on_grid(self._ids[tile.window.slices], tile.frame, 0)
        numbers[tile.targets == IGNORED] = 0
        sizes = []
        for number, place in enumerate(ndimage.find_objects(numbers), start=1):
            if place is None:
                continue
            inside = numbers[place] == number
            self._add_object(number, tile.targets[place][inside], predicted[(slice(None), *place)][:, inside])
            sizes.append(int(inside.sum()))
        self._earlier += sizes
        median = float(np.median(sizes or self._earlier or [4]))
        if self._has_background:
            found = self._missing(tile, predicted, _SMALL * median)
            # Tiles overlap, so a region may have been found before.
            self._regions += [entry for entry in found if not any(_overlap(entry, o) for o in self._regions)]

    def losses(self) -> list[LabelLoss]:
        """Return the losses of the objects and regions of the image."""
        boxes = ndimage.find_objects(self._ids)
        objects = [
            LabelLoss(
                self._sample.name,
                _box(*boxes[number - 1]),
                number,
                self._names[sums.label],
                self._names[int(sums.probabilities.argmax())],
                sums.loss / sums.cells,
            )
            for number, sums in self._objects.items()
        ]
        return objects + self._regions

    def _add_object(self, number: int, targets: IntArray, predicted: FloatArray) -> None:
        """Add the cells of an object: targets (N,) and probabilities (K, N)."""
        label = int(np.bincount(targets).argmax())
        if label not in self._seen:  # The head can only tell objects of this class from background.
            predicted = predicted.copy()
            predicted[label] = predicted[int(self._has_background) :].sum(axis=0)
        sums = self._objects.setdefault(number, _Sums(label, np.zeros(len(predicted))))
        sums.cells += len(targets)
        sums.loss += float(-np.log(np.maximum(predicted[sums.label], _LEAST)).sum())
        sums.probabilities += predicted.sum(axis=1)

    def _missing(self, tile: Tile, predicted: FloatArray, min_cells: float) -> Iterator[LabelLoss]:
        """Find background that is predicted as another class, without thin edges around objects."""
        wrong: BoolArray = (tile.targets == 0) & (predicted.argmax(axis=0) > 0)
        width = max(1, round(0.5 * math.sqrt(min_cells / math.pi)))
        labels, _ = ndimage.label(ndimage.binary_opening(wrong, iterations=width))
        for number, (rows, cols) in enumerate(ndimage.find_objects(labels), start=1):
            inside = labels[rows, cols] == number
            if inside.sum() < min_cells:
                continue
            given = predicted[:, rows, cols][:, inside]
            yield LabelLoss(
                self._sample.name,
                _box_px(tile.window, tile.frame, rows, cols),
                0,
                self._names[0],
                self._names[1 + int(given[1:].sum(axis=1).argmax())],
                float(-np.log(np.maximum(given[0], _LEAST)).mean()),
            )


def _overlap(one: LabelLoss, other: LabelLoss) -> bool:
    """Return True if the boxes of two regions overlap in at least half of the smaller one."""
    low, high = np.maximum(one.box[:2], other.box[:2]), np.minimum(one.box[2:], other.box[2:])
    areas = [(r1 - r0) * (c1 - c0) for r0, c0, r1, c1 in (one.box, other.box)]
    return bool(2 * np.prod(np.clip(high - low, 0, None)) >= min(areas))


def _box(rows: slice, cols: slice) -> Box:
    return rows.start, cols.start, rows.stop, cols.stop


def _box_px(window: Frame, frame: Frame, rows: slice, cols: slice) -> Box:
    """Convert cells of the logit grid of a tile to image pixels."""
    cell = frame.input_px / LOGITS_PX
    step_r, step_c = (
        cell * size / input_px for size, input_px in zip(window.hw, frame.input_hw, strict=True)
    )
    return (
        window.top + int(rows.start * step_r),
        window.left + int(cols.start * step_c),
        window.top + min(window.height, math.ceil(rows.stop * step_r)),
        window.left + min(window.width, math.ceil(cols.stop * step_c)),
    )
