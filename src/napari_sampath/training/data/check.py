"""Inspection of the images of a dataset, before training and for `sampath dataset check`."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ... import tiling
from ...errors import DatasetError, ImageError
from ...files.messages import plural
from ...jobs import Job, Progress
from ...rasters import read_orientation
from .dataset import IGNORED, Dataset, Sample

logger = logging.getLogger(__name__)

_SHOWN = 10
"""Number of notes that are listed one by one."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Properties of one image of a dataset."""

    sample: Sample
    hw: tuple[int, int]
    """Height and width of the image, in pixels."""
    class_px: tuple[int, ...]
    """Number of labelled pixels of each class, in the order of `Dataset.classes`."""
    digest: str
    """SHA-256 digest of the image's shape and pixels."""

    @property
    def tiles(self) -> int:
        """Number of tiles that cover the image."""
        return len(tiling.tiles(self.hw))

    @property
    def labelled_px(self) -> int:
        """Number of pixels that are not ignored."""
        return sum(self.class_px)


@dataclass(slots=True)
class Inspection:
    """Result of reading the images of a dataset."""

    images: list[ImageFacts] = field(default_factory=list)
    """Properties of the readable images."""
    problems: list[str] = field(default_factory=list)
    """One sentence for each unreadable image."""
    notes: list[tuple[str, str]] = field(default_factory=list)
    """Name of an image, and a sentence about what was left out or converted."""


def inspect_job(dataset: Dataset, samples: Sequence[Sample], message: str) -> Job[Inspection]:
    """Read the files of the given samples and collect the errors; progress counts images."""
    inspection, turned = Inspection(), []
    for number, sample in enumerate(samples):
        yield Progress(number, len(samples), message, "images")
        try:
            example = dataset.read(sample)
        except (DatasetError, ImageError) as error:
            inspection.problems.append(str(error))
            continue
        counts = np.bincount(example.targets.ravel(), minlength=IGNORED + 1)[: len(dataset.classes)]
        inspection.notes += [(sample.name, note) for note in example.notes]
        if sample.image.is_file() and _is_turned(sample.image):
            turned.append(sample.name)
        pixels = example.pixels
        digest = hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())
        hw = (pixels.shape[0], pixels.shape[1])
        inspection.images.append(ImageFacts(sample, hw, tuple(counts.tolist()), digest.hexdigest()))
    if turned:
        others = f", like {plural(len(turned) - 1, 'other image')}" if len(turned) > 1 else ""
        note = (
            f"The image was turned as its orientation tag states{others}; labels without such a tag were taken as "
            "drawn on the turned image, unless they have the size of the stored one."
        )
        inspection.notes.append((turned[0], note))
    yield Progress(len(samples), len(samples), message, "images")
    return inspection


def _is_turned(image: Path) -> bool:
    """Return whether an image file has an orientation tag that turns it; a slide has none."""
    try:
        return read_orientation(image) > 1
    except ImageError:
        return False


def summarise_notes(inspection: Inspection) -> list[str]:
    """Return one sentence for each of the first notes, and one for the number of the others."""
    shown = [f"'{name}': {note}" for name, note in inspection.notes[:_SHOWN]]
    others = len(inspection.notes) - len(shown)
    return [*shown, f"{others:,} more notes of this kind."] if others else shown


def check_job(
    dataset: Dataset, training: Sequence[Sample], validation: Sequence[Sample]
) -> Job[list[list[ImageFacts]]]:
    """Check a dataset before training, and return the properties of its training images and of its validation images.

    Raises:
        DatasetError: If a file cannot be read, either set of images has no labelled pixel, a class does not occur in
            the training images, or they have labels of one class only.
    """
    images: dict[str, list[ImageFacts]] = {}
    for purpose, samples in (("train on", training), ("validate on", validation)):
        inspection = yield from inspect_job(dataset, samples, "Checking the images")
        if inspection.problems:
            more = len(inspection.problems) - 1
            also = f" {plural(more, 'more file')} cannot be used." if more else ""
            raise DatasetError(inspection.problems[0] + also)
        for sentence in summarise_notes(inspection):
            logger.warning("%s", sentence)
        if not any(image.labelled_px for image in inspection.images):
            files = f"'{samples[0].labels}'" + (f" and {len(samples) - 1} more" if len(samples) > 1 else "")
            raise DatasetError(
                f"The dataset '{dataset.name}' has no labelled pixels to {purpose}: all are ignored ({files}); "
                "label some pixels."
            )
        images[purpose] = inspection.images
    counts = np.sum([image.class_px for image in images["train on"]], axis=0)
    missing = [c.name for c, count in zip(dataset.classes, counts, strict=True) if c.id > 0 and not count]
    if missing:
        raise DatasetError(
            f"No training image of '{dataset.name}' contains the class '{missing[0]}'; annotate it in an image, or "
            "remove the class."
        )
    present = [info.name for info, count in zip(dataset.classes, counts, strict=True) if count]
    if len(present) < 2:
        raise DatasetError(
            f"All labelled pixels of the training images of '{dataset.name}' are '{present[0]}', so a head would learn "
            "to paint everything; label a second class, or background."
        )
    return list(images.values())
