"""How a head does on a split, beside what needs no training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu

from ..arrays import UInt8Array
from ..config import load_config
from ..errors import DatasetError
from ..heads import LoadedHead, load_head
from ..jobs import Job, Progress, run
from ..predict import Model, load_model_job
from ..predict.automatic import check_match, segment_job
from ..store import Store
from .dataset import Dataset, even_subset
from .metrics import Confusion, best_constant, confusion, summarise
from .readers import open_dataset

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
    """Score a head on a split of a dataset, at the images' own resolution.

    Args:
        dataset: A dataset, or a folder that `open_dataset` knows.
        head: A loaded head, the name of a shipped one, or the path of a bundle.
        split: Name of the split.
        model: The model the head was trained on; loaded if left out.
        max_images: Largest number of images, drawn evenly over kinds of tissue and cases; 0 for all.
        on_progress: Called before every image.

    Returns:
        {"dataset", "split", "images", "head", "encoder", "classes", "scores": {name of the head or of a
        baseline: what `metrics.summarise` returns}, "gain_iou": mean IoU per image above the best constant answer}.

    Raises:
        DatasetError: If data and head have different classes, or the data cannot be read.
        WeightsError: If the head was trained on other features than the model's.
    """
    return run(evaluate_job(dataset, head, split, model, max_images), on_progress)


def evaluate_job(
    dataset: Dataset | str | Path,
    head: LoadedHead | str | Path,
    split: str = "val",
    model: Model | None = None,
    max_images: int = 0,
) -> Job[dict[str, Any]]:
    """Score a head, reporting each image; see `evaluate`."""
    if not isinstance(dataset, Dataset):
        dataset = open_dataset(dataset)
    loaded = head if isinstance(head, LoadedHead) else load_head(head)
    if [c.id for c in loaded.classes] != [c.id for c in dataset.classes]:
        raise DatasetError(
            f"The head '{loaded.name}' tells {[c.name for c in loaded.classes]} apart, the dataset "
            f"'{dataset.name}' holds {[c.name for c in dataset.classes]}; evaluate on data with the head's classes."
        )
    if model is None:
        settings = load_config()
        model = yield from load_model_job(
            loaded.encoder_name, settings.device, store=Store.from_config(settings)
        )
    check_match(loaded, model)
    samples = even_subset(dataset.split(split), max_images, seed=0)
    count = len(dataset.classes)
    channel = np.zeros(256, dtype=np.uint8)
    channel[[c.id for c in dataset.classes]] = range(count)
    found: dict[str, list[Confusion]] = {loaded.name: []}
    with_otsu = count == 2 and dataset.classes[0].id == 0
    for number, sample in enumerate(samples):
        yield Progress(number, len(samples), f"Segmenting {sample.name}", "images")
        example = dataset.read(sample)
        pixels, targets = example.pixels, example.targets
        result = run(segment_job(pixels, loaded, model))
        found[loaded.name].append(confusion(channel[result.labels], targets, count))
        if with_otsu:
            found.setdefault(OTSU, []).append(confusion(otsu_on_haematoxylin(pixels), targets, count))
    yield Progress(len(samples), len(samples), "Segmented", "images")
    scores = {name: summarise(matrices, dataset.classes) for name, matrices in found.items()}
    baseline, scores_of_it = best_constant(found[loaded.name], dataset.classes)
    scores[baseline] = scores_of_it
    return {
        "dataset": dataset.name,
        "split": split,
        "images": len(samples),
        "head": loaded.name,
        "encoder": loaded.encoder_name,
        "classes": [c.name for c in dataset.classes],
        "scores": scores,
        "gain_iou": _mean_iou(scores[loaded.name]) - _mean_iou(scores_of_it),
    }


def otsu_on_haematoxylin(pixels: UInt8Array) -> UInt8Array:
    """Split an H&E image into much (1) and little (0) haematoxylin at Otsu's threshold.

    The stain is smoothed first: a gland is its nuclei and what lies between them.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        (H, W) uint8.
    """
    stain = gaussian(rgb2hed(pixels)[..., 0], _SMOOTHING_PX)
    if np.ptp(stain) == 0:
        return np.zeros(pixels.shape[:2], dtype=np.uint8)
    above: UInt8Array = (stain > threshold_otsu(stain)).astype(np.uint8)
    return above


def format_report(report: dict[str, Any]) -> str:
    """Write a report as a table: one line for each method and class, then the means over classes."""
    lines = [
        f"{report['dataset']}, split {report['split']}, {report['images']} images",
        f"{'method':<24}{'class':<16}{'Dice':>8}{'IoU':>8}{'Dice, pooled':>14}{'IoU, pooled':>13}",
    ]
    for method, scores in report["scores"].items():
        for name in [*report["classes"], "mean"]:
            image, pooled = scores["per_image"][name], scores["pooled"][name]
            cells = [_figure(v) for v in (image["dice"], image["iou"], pooled["dice"], pooled["iou"])]
            lines.append(f"{method:<24}{name:<16}{cells[0]:>8}{cells[1]:>8}{cells[2]:>14}{cells[3]:>13}")
    lines.append(f"mean IoU per image above the best constant answer: {report['gain_iou']:+.3f}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean_iou(scores: dict[str, Any]) -> float:
    return float(scores["per_image"]["mean"]["iou"] or 0.0)
