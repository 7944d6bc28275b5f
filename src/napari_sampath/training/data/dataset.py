"""Images with label maps, split by case: what heads are trained and evaluated on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...arrays import ClassInfo, UInt8Array
from ...errors import DatasetError
from ...images import read
from ...rasters import read_raster

T = TypeVar("T")

IGNORED = 255
"""In targets: an unverified pixel, left out of losses and metrics."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One image as its files give it."""

    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    labels: npt.NDArray[np.integer]
    """(H, W) values as `Dataset.values` explains them."""
    instances: npt.NDArray[np.integer] | None = None
    """(H, W) number of the object of each pixel, 0 for none; None if objects are not told apart."""
    annotated: npt.NDArray[np.bool_] | None = None
    """(H, W), True where the label is verified; None if it is everywhere."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One image with what a head should make of it."""

    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    targets: UInt8Array
    """(H, W) uint8, index into `Dataset.classes`, or `IGNORED`."""
    instances: npt.NDArray[np.integer] | None
    """(H, W) number of the object of each pixel, 0 for none; None if objects are not told apart."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and its label map."""

    name: str
    image: Path
    labels: Path
    """The file that the labels come from."""
    group: str
    """Slide or case; images of one group are never in two splits."""
    split: str
    """"train", "val" or "test"."""
    stratum: str = ""
    """Kind of tissue, for drawing evenly; empty if not known."""
    mpp: float | None = None
    """Micrometres per pixel; None if not known."""
    load: Callable[[Sample], Item] | None = None
    """Reads the files; None for an image file and a label map of one number a pixel."""

    def read(self) -> Item:
        """Read the files.

        Raises:
            ImageError: If one is truncated, damaged or no image.
            DatasetError: If the labels are missing or no labels.
        """
        if self.load is not None:
            return self.load(self)
        return Item(read(self.image).pixels, read_label_map(self.labels))


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
    licence: str = "not stated"
    attribution: str = ""
    note: str = ""
    """What must be known of the grouping or the splits, a sentence; empty if nothing."""

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel; None if unknown or mixed."""
        scales = {sample.mpp for sample in self.samples}
        return scales.pop() if len(scales) == 1 else None

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

    def read(self, sample: Sample) -> Example:
        """Read an image and its targets.

        Raises:
            ImageError: If a file is truncated, damaged or no image.
            DatasetError: If the label map is missing, has another size, or values of no class.
        """
        item = sample.read()
        hw = item.pixels.shape[:2]
        for values in (item.labels, item.instances, item.annotated):
            if values is not None and values.shape != hw:
                raise DatasetError(
                    f"'{sample.labels}' is {values.shape[1]} x {values.shape[0]} px, its image "
                    f"{hw[1]} x {hw[0]} px (width x height); make them the same size."
                )
        targets = self.to_targets(item.labels, sample.labels)
        if item.annotated is not None:
            targets[~item.annotated] = IGNORED
        return Example(item.pixels, targets, item.instances)

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
    return draw_evenly(samples, count, seed, lambda sample: (sample.stratum, sample.group))


def draw_evenly(items: Sequence[T], count: int, seed: int, place: Callable[[T], tuple[str, str]]) -> list[T]:
    """Draw up to `count` items, evenly over strata and, within a stratum, over groups.

    Args:
        items: Any.
        count: 0 for all.
        seed: Of the draw.
        place: Stratum and group of an item.
    """
    if not 0 < count < len(items):
        return list(items)
    rng = np.random.default_rng(seed)
    by_stratum: dict[str, dict[str, list[T]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        stratum, group = place(item)
        by_stratum[stratum][group].append(item)
    queues: list[list[T]] = []
    for _, by_group in sorted(by_stratum.items()):
        turns: list[tuple[int, float, T]] = []
        for members in by_group.values():
            shuffled = [members[i] for i in rng.permutation(len(members))]
            turns += [(turn, float(rng.random()), item) for turn, item in enumerate(shuffled)]
        queues.append([item for _, _, item in sorted(turns, key=lambda t: t[:2])][::-1])
    chosen: list[T] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return chosen
