"""Images with one id per object, for training and evaluating promptable models.

The images come from any dataset that `open_dataset` reads, or from the tissue collection that `sampath-tiny` is trained
on: `<set>/index.csv` with the columns `name` and `split`, `<set>/images` and `<set>/masks`. If the masks contain only
classes, the objects are the connected components of each class.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.measure import label

from ...arrays import IntArray, UInt8Array
from ...errors import DatasetError
from ...geometry import INPUT_PX
from ...images import read
from .dataset import IGNORED, Dataset, Example, read_label_map
from .readers import open_dataset


@dataclass(frozen=True, slots=True)
class Kind:
    """Kind of object that an image shows, with settings for training on such images."""

    name: str
    """Singular name of the objects ("nucleus", "gland", "tumour"), or name of the dataset."""
    share: float
    """Fraction of the training windows."""
    max_scale: float
    """Largest scale factor; enlarged by about this factor, the images fill the 1,024 px frame."""
    separate: bool
    """True if each id is one object, so that boundaries and centres are meaningful; False for regions."""


NUCLEUS = Kind("nucleus", 0.52, 5.0, separate=True)
TNBC_NUCLEUS = Kind("nucleus, TNBC", 0.30, 4.0, separate=True)
GLAND = Kind("gland", 0.30, 5.0, separate=True)
TUMOUR = Kind("tumour", 0.18, 2.5, separate=False)


@dataclass(frozen=True, slots=True)
class InstanceSet:
    """One dataset of the tissue collection: its folder, and how to read its masks."""

    kind: Kind
    folder: str
    components: bool
    """True if the objects are the connected components of the masks; False if masks contain object ids."""
    min_area_px: int
    """Smallest area of an object to prompt for, in pixels."""
    mask_suffix: str = ""
    """Text between the image name and ".png" in the file name of a mask."""
    whole_split: str = ""
    """Split of all images of a set without `index.csv`."""


SETS = (
    InstanceSet(NUCLEUS, "bbbc038_nuclei", components=False, min_area_px=20),
    InstanceSet(NUCLEUS, "hgsc_nuclei", False, 20, mask_suffix="_inst", whole_split="train"),
    InstanceSet(TNBC_NUCLEUS, "tnbc_nuclei", components=False, min_area_px=20),
    InstanceSet(GLAND, "ebhi_glands", components=True, min_area_px=400),
    InstanceSet(TUMOUR, "bcss_tumor", components=True, min_area_px=2000),
)


UNKNOWN = -1
"""Id of pixels outside the verified area."""
MIN_AREA_PX = 20
"""Smallest area of an object to prompt for, in pixels, for datasets outside the tissue collection."""


@dataclass(frozen=True, slots=True, eq=False)
class InstanceImage:
    """One image and its objects."""

    name: str
    kind: Kind
    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    instances: IntArray
    """(H, W) int32, one id per object, 0 for background, `UNKNOWN` outside the verified area."""
    min_area_px: int
    case: str = ""
    """Slide, patient or larger field of view that the image is from."""

    def objects(self) -> list[int]:
        """Return the ids of the objects that are large enough to be prompted for."""
        ids, areas = np.unique(self.instances, return_counts=True)
        return [int(i) for i, area in zip(ids, areas, strict=True) if i > 0 and area >= self.min_area_px]


def read_instances(data: Path, split: str, kinds: tuple[str, ...] = ()) -> list[InstanceImage]:
    """Read all images of a split ("train" or "val").

    Args:
        data: A dataset that `open_dataset` reads, or the folder of the tissue collection.
        split: Name of the split.
        kinds: Names of the kinds to read from the collection; all if empty.

    Raises:
        DatasetError: If the split has no images, or a dataset outside the collection has no objects.
    """
    sets = [source for source in SETS if (data / source.folder).is_dir()]
    if not sets and (data.is_file() or (data.is_dir() and any(data.iterdir()))):
        return list(dataset_instances(open_dataset(data), split))
    images = [
        _read_image(data / source.folder, name, case, source)
        for source in sets
        if not kinds or source.kind.name in kinds
        for name, case in _names(data / source.folder, split, source.whole_split)
    ]
    if not images:
        raise DatasetError(
            f"There is no image of the split '{split}' in {data}; set --data or SAMPATH_DATA to a dataset, or to the "
            f"folder that contains {', '.join(source.folder for source in SETS)}."
        )
    return images


def dataset_instances(dataset: Dataset, split: str) -> Iterator[InstanceImage]:
    """Read the images of a split and their objects: instance maps or, without these, connected components of a class.

    Raises:
        DatasetError: If the split is empty, a file cannot be read, or no image has an object.
    """
    samples = dataset.split(split)
    any_object = False
    for sample in samples:
        example = dataset.read(sample)
        instances = object_ids(dataset, example)
        scale = max(1.0, INPUT_PX / max(instances.shape))
        kind = Kind(dataset.name, 1.0, scale, separate=example.instances is not None)
        image = InstanceImage(sample.name, kind, example.pixels, instances, MIN_AREA_PX, sample.group)
        any_object = any_object or bool(image.objects())
        yield image
    if not any_object:
        raise DatasetError(
            f"The {len(samples)} images of the split '{split}' of '{dataset.name}' contain no object of at least "
            f"{MIN_AREA_PX} px to prompt for; annotate some, or choose another dataset."
        )


def object_ids(dataset: Dataset, example: Example) -> IntArray:
    """Return the object ids of an example, 0 for background, `UNKNOWN` where targets are ignored."""
    background = 0 if dataset.classes[0].id == 0 else IGNORED
    inside = (example.targets != IGNORED) & (example.targets != background)
    if example.instances is not None:
        instances = np.where(inside, example.instances, 0).astype(np.int32)
    else:
        # `label` connects only equal values, so touching objects of different classes stay separate.
        values = np.where(inside, example.targets.astype(np.int32) + 1, 0)
        instances = label(values, connectivity=1).astype(np.int32)
    instances[example.targets == IGNORED] = UNKNOWN
    return instances


def _names(folder: Path, split: str, whole_split: str) -> list[tuple[str, str]]:
    """List the (name, case) of each image of a split; the case is the name if `index.csv` does not state one."""
    index = folder / "index.csv"
    if index.is_file():
        with index.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == split]
        return [(row["name"], row.get("case_group") or row.get("group") or row["name"]) for row in rows]
    names = sorted(path.stem for path in (folder / "images").glob("*.*")) if split == whole_split else []
    return [(name, name) for name in names]


def _read_image(folder: Path, name: str, case: str, source: InstanceSet) -> InstanceImage:
    image = next((path for path in (folder / "images").glob(f"{name}.*")), None)
    mask = folder / "masks" / f"{name}{source.mask_suffix}.png"
    if image is None or not mask.is_file():
        missing = mask if image is not None else folder / "images" / f"{name}.*"
        raise DatasetError(f"The file {missing} listed in {folder / 'index.csv'} is missing; restore it.")
    loaded = read(image)
    pixels = loaded.pixels
    hw = pixels.shape[0], pixels.shape[1]
    values = read_label_map(mask, hw, loaded.orientation).astype(np.int32)
    instances = label(values > 0, connectivity=1).astype(np.int32) if source.components else values
    return InstanceImage(name, source.kind, pixels, instances, source.min_area_px, case)
