"""Images with one id per object, for SAM's own training algorithm.

Reads the layout of the tissue collection the models are trained on: `<set>/index.csv` with a `name` and a
`split` column, `<set>/images`, `<set>/masks`. What an object is differs by set: nuclei are labelled one by
one, glands and tumour nests are connected components of a semantic mask.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.measure import label

from ..arrays import IntArray, UInt8Array
from ..errors import DatasetError


@dataclass(frozen=True, slots=True)
class InstanceSet:
    """Where one collection lies and what its masks mean."""

    kind: str
    """Name of the objects, singular: "nucleus", "gland", "tumour"."""
    folder: str
    components: bool
    """True if masks are semantic and objects are their connected components."""
    min_area_px: int
    """Smaller objects are not prompted for."""
    mask_suffix: str = ""
    """What follows the image's name in its mask's name."""
    whole_split: str = ""
    """The split all images belong to where there is no `index.csv`."""


SETS = (
    InstanceSet("nucleus", "bbbc038_nuclei", components=False, min_area_px=20),
    InstanceSet("nucleus", "hgsc_nuclei", False, 20, mask_suffix="_inst", whole_split="train"),
    InstanceSet("gland", "ebhi_glands", components=True, min_area_px=400),
    InstanceSet("tumour", "bcss_tumor", components=True, min_area_px=2000),
)


@dataclass(frozen=True, slots=True)
class Kind:
    """How a kind of object is used in training."""

    share: float
    """Share of the training windows."""
    max_scale: float
    """Largest enlargement: the kind's images fill the 1,024 px frame at about this scale."""
    separate: bool
    """True if ids are single objects, so that boundaries and centres mean something; False for regions."""


KINDS = {
    "nucleus": Kind(0.45, 5.0, separate=True),
    "gland": Kind(0.45, 5.0, separate=True),
    "tumour": Kind(0.10, 2.5, separate=False),
}


@dataclass(frozen=True, slots=True, eq=False)
class InstanceImage:
    """One image and its objects."""

    name: str
    kind: str
    pixels: UInt8Array
    """(H, W, 3) uint8 RGB."""
    instances: IntArray
    """(H, W) int32, 0 for background, one id per object."""
    min_area_px: int

    def objects(self) -> list[int]:
        """List the ids of the objects that are large enough to be prompted for."""
        ids, areas = np.unique(self.instances, return_counts=True)
        return [int(i) for i, area in zip(ids, areas, strict=True) if i > 0 and area >= self.min_area_px]


def read_instances(data: Path, split: str, kinds: tuple[str, ...] = ()) -> list[InstanceImage]:
    """Read all images of a split, from every set that is there.

    Args:
        data: Folder that holds the sets.
        split: "train" or "val".
        kinds: Only these kinds; empty for all.

    Raises:
        DatasetError: If no image is found.
    """
    found: list[InstanceImage] = []
    for source in SETS:
        if not kinds or source.kind in kinds:
            names = _names(data / source.folder, split, source.whole_split)
            found += [_read_one(data / source.folder, name, source) for name in names]
    if not found:
        raise DatasetError(
            f"There is no image of the split '{split}' in {data}; name the folder that holds "
            f"{', '.join(source.folder for source in SETS)}, with --data or in SAMPATH_DATA."
        )
    return found


def _names(folder: Path, split: str, whole_split: str) -> list[str]:
    index = folder / "index.csv"
    if index.is_file():
        with index.open(encoding="utf-8", newline="") as file:
            return [row["name"] for row in csv.DictReader(file) if row["split"] == split]
    return sorted(path.stem for path in (folder / "images").glob("*.*")) if split == whole_split else []


def _read_one(folder: Path, name: str, source: InstanceSet) -> InstanceImage:
    image = next((path for path in (folder / "images").glob(f"{name}.*")), None)
    mask = folder / "masks" / f"{name}{source.mask_suffix}.png"
    if image is None or not mask.is_file():
        missing = mask if image is not None else folder / "images" / f"{name}.*"
        raise DatasetError(f"The file {missing} named in {folder / 'index.csv'} is missing; restore it.")
    pixels = np.array(Image.open(image).convert("RGB"))
    values = np.array(Image.open(mask)).astype(np.int32)
    if values.shape != pixels.shape[:2]:
        raise DatasetError(
            f"The mask {mask} is {values.shape[1]} x {values.shape[0]} px and its image "
            f"{pixels.shape[1]} x {pixels.shape[0]} px; they must be of one size."
        )
    instances = label(values > 0, connectivity=1).astype(np.int32) if source.components else values
    return InstanceImage(name, source.kind, pixels, instances, source.min_area_px)
