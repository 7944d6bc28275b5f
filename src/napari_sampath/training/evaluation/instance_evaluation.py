"""Evaluation of instance segmentation: a head with and without its model, the model alone, and image processing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu

from ...arrays import IntArray, LocalMask, UInt8Array
from ...heads import LoadedHead
from ...jobs import Job, Progress
from ...predict import Model
from ...predict.everything.everything import segment_everything_job
from ...predict.everything.settings import EverythingSettings
from ...predict.instances.instances import separate_touching_job
from ...predict.instances.label_map import number_map
from ...predict.instances.settings import InstanceSettings
from ...predict.instances.split_touching import split_mask, split_segmentation
from ...predict.segmentation import segment_job
from ..data.instances import InstanceImage
from .panoptic_quality import ObjectCounts

T = TypeVar("T")

_INSTANCES = InstanceSettings()
BASELINE = "haematoxylin, watershed"


@dataclass(frozen=True, slots=True)
class InstanceScore:
    """Scores of one method on all images of one kind; objects match at an IoU above 0.5."""

    kind: str
    """Kind of the objects: "nucleus", "gland", "tumour", or the name of a dataset."""
    method: str
    pq: float | None
    """Panoptic quality, 0..1, over the objects of all images; None if there are no objects."""
    f1: float | None
    aji: float | None
    """Aggregated Jaccard index, 0..1."""
    sq: float | None
    """Mean IoU of the matches, 0..1; None if there are no matches."""
    objects: int
    """Number of true objects."""
    images: int


def evaluate_instances(
    model: Model,
    heads: Sequence[LoadedHead],
    images: Sequence[InstanceImage],
    settings: InstanceSettings = _INSTANCES,
    everything: EverythingSettings | None = None,
) -> Job[list[InstanceScore]]:
    """Segment the objects of images with several methods, and score each method.

    If a head has a class with the name of an image's kind, only this class is scored; otherwise all its classes are.
    Pixels outside the verified area are excluded, and so are predicted objects that lie mostly outside it. Methods that
    need a head or a promptable model are skipped if there is none.

    Returns:
        One score for each kind and method: for each head "HEAD + MODEL" (`segment_instances`), "HEAD, separated"
        (without outlines by the model) and "HEAD, connected components", then "MODEL, everything", and the baseline
        (Otsu's threshold on haematoxylin, with touching objects separated as for a head).

    Raises:
        WeightsError: If a head was trained on features of another encoder.
    """
    counts: dict[tuple[str, str], ObjectCounts] = {}
    image_counts: Counter[str] = Counter()
    for number, image in enumerate(images):
        progress = Progress(number, len(images), f"Segmenting the objects of {image.name}", "images")
        yield progress
        image_counts[image.kind.name] += 1
        masks_by_method = yield from _with_progress(
            progress, _predict_job(model, heads, image, settings, everything)
        )
        for method, masks in masks_by_method.items():
            numbers = number_map(masks, (image.instances.shape[0], image.instances.shape[1]))
            count_objects(counts.setdefault((image.kind.name, method), ObjectCounts()), numbers, image)
    return [_score(kind, method, count, image_counts[kind]) for (kind, method), count in counts.items()]


def count_objects(counts: ObjectCounts, numbers: IntArray, image: InstanceImage) -> None:
    """Match predicted objects with the true objects of an image, and add the result to `counts`.

    `numbers` is (H, W), the number of the predicted object at each pixel, 0 for none.
    """
    # Exclude true objects that are too small to prompt for, like unverified pixels.
    valid = (image.instances == 0) | np.isin(image.instances, image.objects())
    predicted = np.where(valid, numbers, 0).astype(np.int64)
    # Drop predicted objects that lie mostly on excluded pixels.
    largest = int(numbers.max(initial=0)) + 1
    inside_px, total_px = (
        np.bincount(labels.astype(np.int64).ravel(), minlength=largest) for labels in (predicted, numbers)
    )
    outside = 2 * inside_px < total_px
    predicted[outside[predicted]] = 0
    counts.add(predicted, np.where(valid, image.instances, 0))


def haematoxylin_objects(pixels: UInt8Array, settings: InstanceSettings = _INSTANCES) -> list[LocalMask]:
    """Segment objects in (H, W, 3) uint8 RGB by Otsu's threshold on haematoxylin, the baseline without a model."""
    stain = gaussian(rgb2hed(pixels)[..., 0], sigma=2)
    if stain.min() == stain.max():
        return []
    return list(split_mask(stain > threshold_otsu(stain), settings))


def _predict_job(
    model: Model,
    heads: Sequence[LoadedHead],
    image: InstanceImage,
    settings: InstanceSettings,
    everything: EverythingSettings | None,
) -> Job[dict[str, list[LocalMask]]]:
    """Return method -> masks of the objects of one image."""
    masks: dict[str, list[LocalMask]] = {}
    pixels = image.pixels
    for head in heads:
        segmentation = yield from segment_job(pixels, head, model)
        ids = [info.id for info in head.classes if info.name == image.kind.name]
        if ids:
            labels = np.where(np.isin(segmentation.labels, ids), segmentation.labels, 0)
            segmentation = replace(segmentation, labels=labels.astype(segmentation.labels.dtype))
        if model.promptable:
            instances = yield from separate_touching_job(segmentation, pixels, model, settings)
            masks[f"{head.name} + {model.name}"] = [instance.mask for instance in instances]
        for suffix, neck in (("separated", settings.neck), ("connected components", 0.0)):
            objects = split_segmentation(segmentation, replace(settings, neck=neck))
            masks[f"{head.name}, {suffix}"] = [obj.mask for obj in objects]
    if model.promptable:
        proposals = yield from segment_everything_job(pixels, model, everything)
        masks[f"{model.name}, everything"] = [proposal.mask for proposal in proposals]
    masks[BASELINE] = haematoxylin_objects(pixels, settings)
    return masks


def _with_progress(progress: Progress, job: Job[T]) -> Job[T]:
    """Run a job step by step, so that it can be cancelled, but report the progress of the outer job."""
    while True:
        try:
            next(job)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield progress


def _score(kind: str, method: str, counts: ObjectCounts, images: int) -> InstanceScore:
    scores = counts.scores()
    objects = counts.matched + counts.missed
    return InstanceScore(
        kind, method, scores["pq"], scores["f1"], scores["aji"], scores["sq"], objects, images
    )
