"""Datasets of images and label maps, split by case, for training and evaluating heads."""

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
from ...images.loaded_image import LoadedImage
from ...rasters import read_labels

T = TypeVar("T")

IGNORED = 255
"""Target value of pixels that losses and metrics exclude, such as those outside the verified area."""


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One image and its labels as stored in the files."""

    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    labels: npt.NDArray[np.integer]
    """(H, W) label values; `Dataset.values` maps them to class ids."""
    instances: npt.NDArray[np.integer] | None = None
    """(H, W) object number of each pixel, 0 for none; None if only classes are known."""
    verified: npt.NDArray[np.bool_] | None = None
    """(H, W), True where a person has confirmed the label; None if all labels are confirmed."""
    notes: tuple[str, ...] = ()
    """Sentences about what was left out or converted."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One image and the target class of each pixel."""

    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    targets: UInt8Array
    """(H, W) uint8, indices into `Dataset.classes`, or `IGNORED`."""
    instances: npt.NDArray[np.integer] | None
    """(H, W) object number of each pixel, 0 for none; None if only classes are known."""
    notes: tuple[str, ...] = ()
    """Sentences about what was left out or converted."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Files and properties of one labelled image."""

    name: str
    image: Path
    labels: Path
    group: str
    """Slide or case of the image; all images of a group are in the same split."""
    split: str
    """Split of the image: "train", "val" or "test"; empty if not yet assigned."""
    stratum: str = ""
    """Tissue type, for balanced sampling; empty if unknown."""
    mpp: float | None = None
    """Micrometres per pixel; None if unknown."""
    load: Callable[[Sample], Item] | None = None
    """Function that reads the files; None for an image file and a label map with one number per pixel."""

    def read(self) -> Item:
        """Read the files.

        Raises:
            ImageError: If a file is truncated, damaged or not an image.
            DatasetError: If the label file is missing, or is not a label map.
        """
        if self.load is not None:
            return self.load(self)
        image, labels = self.read_files()
        return Item(image.pixels, labels)

    def read_files(self) -> tuple[LoadedImage, npt.NDArray[np.integer]]:
        """Read an image file and a label map (H, W); see `read`."""
        image = read(self.image)
        hw = image.pixels.shape[0], image.pixels.shape[1]
        return image, read_label_map(self.labels, hw, image.orientation)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Samples, their classes and the meaning of the values in their label maps."""

    name: str
    samples: tuple[Sample, ...]
    classes: tuple[ClassInfo, ...]
    """Classes in the order of a head's output channels; the first may be the background, with id 0."""
    values: Mapping[int, int]
    """Label value -> class id."""
    ignored: frozenset[int] = frozenset()
    """Label values that are excluded from training and evaluation."""
    licence: str = "not stated"
    attribution: str = ""
    note: str = ""
    """Warning about the grouping or the splits; empty if there is none."""
    remarks: tuple[str, ...] = ()
    """Sentences about what was left out, renumbered or assumed."""

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel; None if unknown or not the same for all samples."""
        scales = {sample.mpp for sample in self.samples}
        return scales.pop() if len(scales) == 1 else None

    def split(self, name: str) -> tuple[Sample, ...]:
        """Return the samples of a split; an empty split raises a `DatasetError`."""
        samples = tuple(sample for sample in self.samples if sample.split == name)
        if not samples:
            splits = sorted({sample.split for sample in self.samples})
            raise DatasetError(
                f"The dataset '{self.name}' has no split '{name}'; choose one of {', '.join(splits)}."
            )
        return samples

    def read(self, sample: Sample) -> Example:
        """Read an image and its target classes.

        Raises:
            ImageError: If a file is truncated, damaged or not an image.
            DatasetError: If the label map is missing, differs in size from the image, or has values without a class.
        """
        item = sample.read()
        hw = item.pixels.shape[:2]
        for values in (item.labels, item.instances, item.verified):
            if values is not None and values.shape != hw:
                raise DatasetError(
                    f"'{sample.labels}' is {values.shape[1]} x {values.shape[0]} px, but its image is "
                    f"{hw[1]} x {hw[0]} px (width x height); make them the same size."
                )
        targets = self.to_targets(item.labels, sample.labels)
        if item.verified is not None:
            targets[~item.verified] = IGNORED
        return Example(item.pixels, targets, item.instances, item.notes)

    def to_targets(self, labels: npt.NDArray[np.integer], source: Path) -> UInt8Array:
        """Convert label values (H, W) into indices into `classes`; a value without a class raises a `DatasetError`."""
        channel = {c.id: index for index, c in enumerate(self.classes)}
        present, inverse = np.unique(labels, return_inverse=True)
        unknown = [int(v) for v in present if int(v) not in self.values and int(v) not in self.ignored]
        if unknown:
            raise DatasetError(
                f"'{source}' contains the values {unknown[:5]}, which have no class; use the class values "
                f"{sorted(self.values)} or the ignored values {sorted(self.ignored)}."
            )
        targets = [IGNORED if int(v) in self.ignored else channel[self.values[int(v)]] for v in present]
        return np.array(targets, dtype=np.uint8)[inverse].reshape(labels.shape)

    def summary(self) -> dict[str, object]:
        """Count the images and groups of each split, for the metadata of a head bundle."""
        splits = {name: self.split(name) for name in sorted({s.split for s in self.samples})}
        return {
            "name": self.name,
            "images": {name: len(samples) for name, samples in splits.items()},
            "groups": {name: len({s.group for s in samples}) for name, samples in splits.items()},
            "classes": [c.name for c in self.classes],
        }


def read_label_map(
    path: Path, hw: tuple[int, int] | None = None, orientation: int = 1
) -> npt.NDArray[np.integer]:
    """Read a label map (H, W) of whole numbers; see `rasters.read_labels`.

    Args:
        path: The file.
        hw: Size (H, W) of its image, which is compared.
        orientation: `LoadedImage.orientation` of its image.

    Raises:
        ImageError: If the file is truncated, damaged or not a label map, or has another size than its image.
        DatasetError: If the file is missing.
    """
    if not path.is_file():
        raise DatasetError(f"There is no label map '{path}'; add it, or remove its image.")
    values = read_labels(path, hw, orientation).values
    labels: npt.NDArray[np.integer] = values.astype(np.uint8) if values.dtype == np.bool_ else values
    return labels


def split_by_group(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Split samples at random, by whole groups, and return the remaining and the held-out samples.

    Groups are held out, at least one, until they contain the fraction `share` of the samples.

    Raises:
        DatasetError: If there are fewer than two groups.
    """
    groups = sorted({sample.group for sample in samples})
    if len(groups) < 2:
        raise DatasetError(
            f"All {len(samples)} images are from the same slide or case ('{groups[0] if groups else ''}'); "
            "add images of another one for validation."
        )
    np.random.default_rng(seed).shuffle(groups)
    held_out: set[str] = set()
    for group in groups[:-1]:
        held_out.add(group)
        if sum(sample.group in held_out for sample in samples) >= share * len(samples):
            break
    return [s for s in samples if s.group not in held_out], [s for s in samples if s.group in held_out]


def even_subset(samples: Sequence[Sample], count: int, seed: int) -> list[Sample]:
    """Choose `count` samples at random, evenly over strata and over the groups of each stratum; 0 chooses all."""
    return choose_evenly(samples, count, seed, lambda sample: (sample.stratum, sample.group))


def choose_evenly(
    items: Sequence[T], count: int, seed: int, strata: Callable[[T], tuple[str, str]]
) -> list[T]:
    """Choose `count` items at random, evenly over strata and over the groups of each stratum; 0 chooses all.

    `strata` returns the stratum and the group of an item.
    """
    if not 0 < count < len(items):
        return list(items)
    rng = np.random.default_rng(seed)
    by_stratum: dict[str, dict[str, list[T]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        stratum, group = strata(item)
        by_stratum[stratum][group].append(item)
    queues: list[list[T]] = []
    for _, by_group in sorted(by_stratum.items()):
        # Rank one item of each group first, then a second item of each, and so on; order equal ranks at random.
        ranked: list[tuple[int, float, T]] = []
        for members in by_group.values():
            shuffled = [members[i] for i in rng.permutation(len(members))]
            ranked += [(rank, float(rng.random()), item) for rank, item in enumerate(shuffled)]
        queues.append([item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])][::-1])
    chosen: list[T] = []
    while len(chosen) < count:
        for queue in queues:
            if queue and len(chosen) < count:
                chosen.append(queue.pop())
    return chosen
