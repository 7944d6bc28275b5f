"""Evaluation of a head on a split, compared with baselines that need no training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu

from ...arrays import ClassInfo, UInt8Array
from ...config import load_config
from ...errors import DatasetError
from ...heads import LoadedHead, load_head
from ...jobs import Job, Progress, run
from ...predict import Model, load_model_job
from ...predict.segmentation import check_match, segment_job
from ...store import Store
from ..data.dataset import Dataset, even_subset
from ..data.readers import open_dataset
from .reference_metrics import ReferenceMetrics, sampath
from .scoring import Scorer

OTSU = "Otsu on haematoxylin"

_SMOOTHING_PX = 8


def evaluate(
    dataset: Dataset | str | Path,
    head: LoadedHead | str | Path,
    split: str = "val",
    model: Model | None = None,
    max_images: int = 0,
    on_progress: Callable[[Progress], object] | None = None,
) -> dict[str, Any]:
    """Score a head on a split of a dataset, at the original resolution of the images.

    Args:
        dataset: A dataset, or the path of a dataset that `open_dataset` can read.
        head: A loaded head, the name of a shipped head, or the path of a head bundle.
        split: Name of the split.
        model: The model that the head was trained on; loaded if not given.
        max_images: Maximum number of images, chosen evenly over tissue types and cases; 0 for all.
        on_progress: Called before each image.

    Returns:
        {"dataset", "split", "images", "head", "encoder", "classes", "mpp", "scores": {name of the head or of a
        baseline: result of `Scorer.scores`}, "rows": `Scorer.rows` of the head, "compat": metrics of the reference
        implementation of this kind of head, "sampath": metrics of SAM-Path, "gain_iou": mean IoU per image minus that
        of the best constant prediction}.

    Raises:
        DatasetError: If dataset and head have different classes, or a file cannot be read.
        WeightsError: If the head was trained on features of another encoder.
    """
    return run(evaluate_job(dataset, head, split, model, max_images), on_progress)


def evaluate_job(
    dataset: Dataset | str | Path,
    head: LoadedHead | str | Path,
    split: str = "val",
    model: Model | None = None,
    max_images: int = 0,
) -> Job[dict[str, Any]]:
    """Score a head as a job; progress counts images. See `evaluate`."""
    if not isinstance(dataset, Dataset):
        dataset = open_dataset(dataset)
    loaded = head if isinstance(head, LoadedHead) else load_head(head)
    check_classes_match(loaded, dataset)
    if model is None:
        settings = load_config()
        model = yield from load_model_job(
            loaded.encoder_name, settings.device, store=Store.from_config(settings)
        )
    check_match(loaded, model)
    samples = even_subset(dataset.split(split), max_images, seed=0)
    compat = ReferenceMetrics(loaded.head.kind, loaded.head.arguments, dataset.classes)
    scorers = yield from _score_job(dataset, samples, loaded, model, compat)
    head_scorer = scorers.pop(loaded.name)
    scores = {loaded.name: head_scorer.scores()}
    if OTSU in scorers:
        scores[OTSU] = scorers.pop(OTSU).scores()
    constants = {name: scorer.scores() for name, scorer in scorers.items()}
    baseline = max(constants, key=lambda name: _mean_iou(constants[name]))
    scores[baseline] = constants[baseline]
    return {
        "dataset": dataset.name,
        "split": split,
        "images": len(samples),
        "head": loaded.name,
        "encoder": loaded.encoder_name,
        "classes": [info.name for info in dataset.classes],
        "mpp": dataset.mpp,
        "scores": scores,
        "rows": head_scorer.rows,
        "compat": compat.scores(),
        "sampath": sampath(np.sum(head_scorer.matrices, axis=0), dataset.classes),
        "gain_iou": _mean_iou(scores[loaded.name]) - _mean_iou(constants[baseline]),
    }


def check_classes_match(head: LoadedHead, dataset: Dataset) -> None:
    """Raise a `DatasetError` unless head and dataset have the same classes."""
    ids = {c.name: c.id for c in head.classes}
    swapped = any(ids.get(c.name, c.id) != c.id for c in dataset.classes)
    if swapped or [c.id for c in head.classes] != [c.id for c in dataset.classes]:
        raise DatasetError(
            f"The head '{head.name}' has the classes {_numbered(head.classes)}, but the dataset '{dataset.name}' has "
            f"{_numbered(dataset.classes)}; evaluate on a dataset with the same class names and numbers."
        )


def _numbered(classes: Sequence[ClassInfo]) -> str:
    return ", ".join(f"{c.id} {c.name}" for c in classes)


def channels(labels: UInt8Array, dataset: Dataset) -> UInt8Array:
    """Convert class ids (H, W) into indices into `dataset.classes`."""
    channel = np.zeros(256, dtype=np.uint8)
    channel[[c.id for c in dataset.classes]] = range(len(dataset.classes))
    return channel[labels]


def _score_job(
    dataset: Dataset, samples: list[Any], head: LoadedHead, model: Model, compat: ReferenceMetrics
) -> Job[dict[str, Scorer]]:
    """Score the head, each constant prediction and, if there is one class besides background, Otsu's threshold."""
    with_otsu = len(dataset.classes) == 2 and dataset.classes[0].id == 0
    constants = {f"all {c.name}": index for index, c in enumerate(dataset.classes) if c.id > 0}
    names = [head.name, *([OTSU] if with_otsu else []), *constants]
    scorers = {name: Scorer(dataset.classes) for name in names}
    for number, sample in enumerate(samples):
        yield Progress(number, len(samples), f"Segmenting {sample.name}", "images")
        example = dataset.read(sample)
        result = run(segment_job(example.pixels, head, model, mpp=sample.mpp))
        predictions = {name: np.full_like(example.targets, index) for name, index in constants.items()}
        predictions[head.name] = channels(result.labels, dataset)
        compat.add(sample.group, predictions[head.name], example.targets, result.probabilities)
        if with_otsu:
            predictions[OTSU] = otsu_on_haematoxylin(example.pixels)
        for name, predicted in predictions.items():
            confidence = result.confidence if name == head.name else None
            scorers[name].add(
                sample.name, sample.group, predicted, example.targets, example.instances, confidence
            )
    yield Progress(len(samples), len(samples), "Segmented", "images")
    return scorers


def otsu_on_haematoxylin(pixels: UInt8Array) -> UInt8Array:
    """Threshold the haematoxylin of (H, W, 3) uint8 RGB with Otsu's method; (H, W) uint8, 1 above the threshold.

    The stain is smoothed first, because a gland includes the tissue between its nuclei.
    """
    stain = gaussian(rgb2hed(pixels)[..., 0], _SMOOTHING_PX)
    if np.ptp(stain) == 0:
        return np.zeros(pixels.shape[:2], dtype=np.uint8)
    above: UInt8Array = (stain > threshold_otsu(stain)).astype(np.uint8)
    return above


def _mean_iou(scores: dict[str, Any]) -> float:
    return float(scores["per_image"]["mean"]["iou"] or 0.0)
