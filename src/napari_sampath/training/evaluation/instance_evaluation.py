"""How well objects are told apart: a head with and without its model, the model alone, and plain image processing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from skimage.color import rgb2hed
from skimage.filters import gaussian, threshold_otsu

from ...arrays import IntArray, LocalMask, UInt8Array
from ...jobs import Job, Progress
from ...predict.everything.everything import segment_everything_job
from ...predict.everything.settings import EverythingSettings
from ...predict.instances.instances import separate_touching_job
from ...predict.instances.label_map import number_map
from ...predict.instances.settings import InstanceSettings
from ...predict.instances.split_touching import objects_of, pieces_of
from ...predict.segmentation import segment_job
from ..data.instances import InstanceImage
from .panoptic_quality import ObjectCounts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...heads import LoadedHead
    from ...predict import Model

T = TypeVar("T")

_INSTANCES = InstanceSettings()
_EVERYTHING = EverythingSettings(
    points_per_side=16, pred_iou_thresh=0.6, stability_score_thresh=0.7, drop_over_half_image=True
)
"""SAM's own thresholds are for SAM's own predicted IoU, and a small model is less sure of itself; a quarter
of its points, because they are what takes time."""

BASELINE = "haematoxylin, watershed"


@dataclass(frozen=True, slots=True)
class InstanceScore:
    """How well one method finds the objects of all images of one kind; IoU above 0.5 is a hit."""

    kind: str
    """"nucleus", "gland", "tumour", or the name of a dataset."""
    method: str
    pq: float | None
    """Panoptic quality, 0..1, objects of all images together; None where there is no object at all."""
    f1: float | None
    aji: float | None
    """Aggregated Jaccard index, 0..1."""
    sq: float | None
    """Mean IoU of the hits, 0..1; None where there is none."""
    objects: int
    """True objects."""
    images: int


def evaluate_instances(
    model: Model,
    head: LoadedHead | None,
    images: Sequence[InstanceImage],
    settings: InstanceSettings = _INSTANCES,
    everything: EverythingSettings = _EVERYTHING,
) -> Job[list[InstanceScore]]:
    """Find the objects of images in several ways, and count what was found.

    Of a head that knows the kind of an image by name only that class counts; else an object is found if its pixels are.
    Unverified pixels count as nothing, and so does a found object that has most of its pixels there.

    Args:
        model: The one whose features the head reads. One that answers no prompts is scored by the head's areas alone.
        head: A trained head; None for the model and the baseline alone.
        images: Images of a validation split.
        settings: Of `segment_instances`.
        everything: Of `segment_everything`.

    Returns:
        One score for each kind and method: "HEAD + MODEL" (`segment_instances`), "HEAD, cut" (the same without the
        model's outlines), "HEAD, connected areas", "MODEL, everything", and the baseline: Otsu's threshold of the
        haematoxylin, cut as the head's areas are.

    Raises:
        WeightsError: If the head was trained on other features than the model's.
    """
    counts: dict[tuple[str, str], ObjectCounts] = {}
    seen: Counter[str] = Counter()
    for number, image in enumerate(images):
        here = Progress(number, len(images), f"finding the objects of {image.name}", "images")
        yield here
        seen[image.kind.name] += 1
        found = yield from _at(here, _found_job(model, head, image, settings, everything))
        for method, masks in found.items():
            numbers = number_map(masks, (image.instances.shape[0], image.instances.shape[1]))
            count_objects(counts.setdefault((image.kind.name, method), ObjectCounts()), numbers, image)
    return [_score(kind, method, count, seen[kind]) for (kind, method), count in counts.items()]


def count_objects(counts: ObjectCounts, numbers: IntArray, image: InstanceImage) -> None:
    """Count the objects found on one image.

    Args:
        counts: What to add them to.
        numbers: (H, W) object numbers, 0 for none.
        image: With the true objects.
    """
    # Specks of the truth that are too small to be asked for are neither to be found nor to be left out.
    known = (image.instances == 0) | np.isin(image.instances, image.objects())
    here = np.where(known, numbers, 0).astype(np.int64)
    largest = int(numbers.max(initial=0)) + 1
    seen, whole = (np.bincount(one.astype(np.int64).ravel(), minlength=largest) for one in (here, numbers))
    beyond = 2 * seen < whole
    here[beyond[here]] = 0
    counts.add(here, np.where(known, image.instances, 0))


def haematoxylin_objects(pixels: UInt8Array, settings: InstanceSettings = _INSTANCES) -> list[LocalMask]:
    """Find what is stained by haematoxylin without any model: the baseline.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        settings: How areas are cut, and how small an object is.

    Returns:
        Masks that share no pixel.
    """
    stain = gaussian(rgb2hed(pixels)[..., 0], sigma=2)
    if stain.min() == stain.max():
        return []
    return list(objects_of(stain > threshold_otsu(stain), settings))


def _found_job(
    model: Model,
    head: LoadedHead | None,
    image: InstanceImage,
    settings: InstanceSettings,
    everything: EverythingSettings,
) -> Job[dict[str, list[LocalMask]]]:
    """Find the objects of one image in all ways: method -> masks."""
    found: dict[str, list[LocalMask]] = {}
    pixels = image.pixels
    if head is not None:
        segmentation = yield from segment_job(pixels, head, model)
        own = [one.id for one in head.classes if one.name == image.kind.name]
        if own:
            alone = np.where(np.isin(segmentation.labels, own), segmentation.labels, 0)
            segmentation = replace(segmentation, labels=alone.astype(segmentation.labels.dtype))
        if model.promptable:
            instances = yield from separate_touching_job(segmentation, pixels, model, settings)
            found[f"{head.name} + {model.name}"] = [one.mask for one in instances]
        uncut = replace(settings, neck=0.0)
        found[f"{head.name}, cut"] = [one.mask for one in pieces_of(segmentation, settings)]
        found[f"{head.name}, connected areas"] = [one.mask for one in pieces_of(segmentation, uncut)]
    if model.promptable:
        masks = yield from segment_everything_job(pixels, model, everything)
        found[f"{model.name}, everything"] = [one.mask for one in masks]
    found[BASELINE] = haematoxylin_objects(pixels, settings)
    return found


def _at(here: Progress, job: Job[T]) -> Job[T]:
    """Run a job that can be cancelled at its own steps but reports where the outer one stands."""
    while True:
        try:
            next(job)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield here


def _score(kind: str, method: str, counts: ObjectCounts, images: int) -> InstanceScore:
    scores = counts.scores()
    objects = counts.matched + counts.missed
    return InstanceScore(
        kind, method, scores["pq"], scores["f1"], scores["aji"], scores["sq"], objects, images
    )
