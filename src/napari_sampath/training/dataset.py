"""Images with label maps, split by case: what heads are trained and evaluated on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..arrays import ClassInfo, UInt8Array
from ..errors import DatasetError
from ..images import read
from ..rasters import read_raster

IGNORED = 255
"""In targets: a pixel that nobody vouched for, left out of losses and metrics."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and its label map."""

    name: str
    image: Path
    labels: Path
    group: str
    """Slide or case; images of one group are never in two splits."""
    split: str
    """"train" or "val"."""
    stratum: str = ""
    """Kind of tissue, for drawing evenly; empty if not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Samples and what the values in their label maps mean."""

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[ClassInfo, ...]
    """What a head learns to tell apart, in the order of its channels; the first may be "rest" with id 0."""
    values: Mapping[int, int]
    """Value in a label map -> class id."""
    ignored: frozenset[int] = frozenset()
    """Values in a label map that are left out of training and evaluation."""
    mpp: float | None = None
    """Micrometres per pixel; None if unknown or mixed."""
    licence: str = "not stated"
    attribution: str = ""

    def split(self, name: str) -> tuple[Sample, ...]:
        """Return the samples of a split.

        Raises:
            DatasetError: If there are none.
        """
        found = tuple(sample for sample in self.samples if sample.split == name)
        if not found:
            there = sorted({sample.split for sample in self.samples})
            raise DatasetError(f"The dataset '{self.name}' has no split '{name}'; it has {', '.join(there)}.")
        return found

    def read(self, sample: Sample) -> tuple[UInt8Array, UInt8Array]:
        """Read an image and its targets.

        Returns:
            (H, W, 3) uint8 RGB, and (H, W) uint8 with the index into `classes`, or `IGNORED`.

        Raises:
            ImageError: If a file is truncated, damaged or no image.
            DatasetError: If the label map is missing, has another size, or values of no class.
        """
        pixels = read(sample.image).pixels
        labels = read_label_map(sample.labels)
        if labels.shape != pixels.shape[:2]:
            raise DatasetError(
                f"'{sample.labels}' is {labels.shape[1]} x {labels.shape[0]} px, its image "
                f"{pixels.shape[1]} x {pixels.shape[0]} px (width x height); make them the same size."
            )
        return pixels, self.to_targets(labels, sample.labels)

    def to_targets(self, labels: npt.NDArray[np.integer], source: Path) -> UInt8Array:
        """Turn the values of a label map (H, W) into indices into `classes`, uint8.

        Raises:
            DatasetError: If a value stands for no class, naming `source`.
        """
        channel = {c.id: index for index, c in enumerate(self.classes)}
        found, places = np.unique(labels, return_inverse=True)
        unknown = [int(v) for v in found if int(v) not in self.values and int(v) not in self.ignored]
        if unknown:
            raise DatasetError(
                f"'{source}' holds the values {unknown[:5]}, which stand for no class; known are "
                f"{sorted(self.values)}, ignored {sorted(self.ignored)}."
            )
        targets = [IGNORED if int(v) in self.ignored else channel[self.values[int(v)]] for v in found]
        return np.array(targets, dtype=np.uint8)[places].reshape(labels.shape)

    def summary(self) -> dict[str, object]:
        """Count images and groups by split, for a bundle's metadata."""
        splits = {name: self.split(name) for name in sorted({s.split for s in self.samples})}
        return {
            "name": self.name,
            "images": {name: len(samples) for name, samples in splits.items()},
            "groups": {name: len({s.group for s in samples}) for name, samples in splits.items()},
            "classes": [c.name for c in self.classes],
        }


def read_label_map(path: Path) -> npt.NDArray[np.integer]:
    """Read a label map: one channel of whole numbers; palette images give their indices.

    Returns:
        (H, W) of an integer type.

    Raises:
        ImageError: If it is truncated, damaged or no image.
        DatasetError: If there is none, or it is lossy, or has several channels or fractions.
    """
    if not path.is_file():
        raise DatasetError(f"There is no label map '{path}'; add it, or remove its image.")
    raster = read_raster(path, indexed=True)
    labels: npt.NDArray[np.integer] = raster.values
    if labels.dtype == np.bool_:
        labels = labels.astype(np.uint8)
    if labels.ndim != 2 or labels.dtype.kind not in "ui" or raster.format in ("JPEG", "MPO"):
        raise DatasetError(
            f"The label map '{path}' is {raster.format} of shape {labels.shape} and type {labels.dtype}; it must hold "
            "one class number per pixel, shape (H, W): save it as indexed or grey PNG, not as RGB or JPEG."
        )
    return labels


def split_by_group(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Set whole groups aside until they hold `share` of the samples, at least one group.

    Returns:
        The samples that stay, and those set aside.

    Raises:
        DatasetError: If there is one group only: nothing could be told apart from learning it by heart.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < 2:
        raise DatasetError(
            f"All {len(samples)} images are of one slide or case ('{groups[0] if groups else ''}'); "
            "add another one, to validate on what was not trained on."
        )
    np.random.default_rng(seed).shuffle(groups)
    aside: set[str] = set()
    for group in groups[:-1]:
        aside.add(group)
        if sum(sample.group in aside for sample in samples) >= share * len(samples):
            break
    return [s for s in samples if s.group not in aside], [s for s in samples if s.group in aside]


def even_subset(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Draw up to `count` samples, evenly over strata and, within a stratum, over groups; all if `count` is 0."""
    if not 0 < count < len(samples):
        return list(samples)
    rng = np.random.default_rng(seed)
    queues: list[list[Sample]] = []
    for stratum in sorted({sample.stratum for sample in samples}):
        by_group: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            if sample.stratum == stratum:
                by_group[sample.group].append(sample)
        turns: list[tuple[int, float, Sample]] = []
        for members in by_group.values():
            shuffled = [members[i] for i in rng.permutation(len(members))]
            turns += [(turn, float(rng.random()), sample) for turn, sample in enumerate(shuffled)]
        queues.append([sample for _, _, sample in sorted(turns, key=lambda t: t[:2])][::-1])
    chosen: list[Sample] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return chosen
