"""COCO: a JSON file that lists images, categories and objects as polygons or run lengths."""

from __future__ import annotations

import functools
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....arrays import BoolArray, ClassInfo, FloatArray
from ....errors import DatasetError, SampathError
from ....formats import rings
from ....formats.labels import default_color
from ....formats.rle import decode, unpack
from ....heads.base import check_classes
from ....images import read
from ..dataset import Dataset, Item, Sample
from .own import REST
from .plain import unknown_groups
from .splits import with_splits


def open_coco(path: Path) -> Dataset | None:
    """Open a COCO file, or a folder with one, or with one for each split (named "train", "val", "test").

    Images are looked for beside the file, in `images/`, in the folder of the split, and one level up. Objects of
    later and smaller categories lie over larger ones; crowds, and objects of which only a box is known, are ignored
    in training and scoring. The keys "group" (or "slide", "case",
    "patient") of an image name its slide or case.

    Returns:
        The dataset; None if there is no such file.

    Raises:
        DatasetError: If a file is no COCO, an image is missing, or an object has no category.
    """
    files = [path] if path.is_file() else _find(path)
    if not files:
        return None
    samples: list[Sample] = []
    classes: tuple[ClassInfo, ...] = ()
    known = True
    for file in files:
        content = _read(file)
        found = _classes(content["categories"], file)
        if classes and found != classes:
            raise DatasetError(f"'{file}' has other categories than '{files[0]}'; make them the same.")
        classes = found
        split = (
            next((s for s in ("train", "val", "test") if s in file.stem.lower()), "")
            if len(files) > 1
            else ""
        )
        for sample, grouped in _samples(content, file, split):
            samples.append(sample)
            known = known and grouped
    note = "" if known else unknown_groups(path)
    values = {c.id: c.id for c in classes}
    return Dataset(path.stem, tuple(with_splits(samples)), classes, values, note=note)


def _find(folder: Path) -> list[Path]:
    for place in (folder, folder / "annotations"):
        found = [p for p in sorted(place.glob("*.json")) if _is_coco(p)]
        if found:
            return found
    return []


def _is_coco(path: Path) -> bool:
    try:
        return {"images", "annotations", "categories"} <= set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        images, objects, categories = (list(content[k]) for k in ("images", "annotations", "categories"))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DatasetError(
            f"'{path}' is no COCO file ({error}); it must list images, annotations and categories."
        ) from error
    return {"images": images, "annotations": objects, "categories": categories}


def _classes(categories: Sequence[Mapping[str, Any]], path: Path) -> tuple[ClassInfo, ...]:
    try:
        found = [ClassInfo(int(c["id"]), str(c["name"]), default_color(int(c["id"]))) for c in categories]
    except (LookupError, TypeError, ValueError) as error:
        raise DatasetError(f"'{path}' has a category without id or name ({error}); add it.") from error
    if any(not 1 <= c.id <= 255 for c in found):
        raise DatasetError(
            f"'{path}' has category ids {[c.id for c in found]}; allowed are 1 to 255: renumber them."
        )
    return check_classes([REST, *sorted(found, key=lambda c: c.id)])


def _samples(content: dict[str, Any], file: Path, split: str) -> list[tuple[Sample, bool]]:
    """Pair each image with whether its slide or case is known."""
    objects: dict[Any, list[Any]] = defaultdict(list)
    ids = {c["id"] for c in content["categories"]}
    for one in content["annotations"]:
        if one.get("category_id") not in ids:
            raise DatasetError(
                f"'{file}' has an object of category {one.get('category_id')}, which is not listed; known: "
                f"{sorted(ids)}."
            )
        objects[one.get("image_id")].append(one)
    found = []
    for image in content["images"]:
        name = str(image.get("file_name", ""))
        group = next((str(image[k]) for k in ("group", "slide", "case", "patient") if image.get(k)), "")
        load = functools.partial(_load, objects=objects[image.get("id")])
        sample = Sample(Path(name).stem, _image(file, name, split), file, group or name, split, load=load)
        found.append((sample, bool(group)))
    return found


def _image(file: Path, name: str, split: str) -> Path:
    folders = (file.parent, file.parent / "images", file.parent / split, file.parent.parent)
    for folder in (*folders, file.parent.parent / "images", file.parent.parent / split):
        if name and (folder / name).is_file():
            return folder / name
    raise DatasetError(f"The image '{name}' that '{file}' lists is not beside it; copy it there.")


def _load(sample: Sample, objects: Sequence[Mapping[str, Any]]) -> Item:
    pixels = read(sample.image).pixels
    hw = pixels.shape[0], pixels.shape[1]
    masks = []
    for one in objects:
        try:
            mask = _mask(one["segmentation"], hw) if _has_outline(one) else _box(one, hw)
            masks.append((one, mask))
        except (SampathError, LookupError, TypeError, ValueError) as error:
            raise DatasetError(
                f"An object of '{sample.name}' in '{sample.labels}' cannot be drawn: {error}"
            ) from error
    labels, instances = np.zeros(hw, np.uint8), np.zeros(hw, np.int32)
    annotated = np.ones(hw, np.bool_)
    for number, (one, mask) in enumerate(sorted(masks, key=lambda pair: -int(pair[1].sum())), start=1):
        if one.get("iscrowd") or not _has_outline(one):
            annotated &= ~mask
        else:
            labels[mask], instances[mask] = one["category_id"], number
    return Item(pixels, labels, instances, annotated)


def _has_outline(one: Mapping[str, Any]) -> bool:
    """Return True unless only a box is known, as `"segmentation": []` says."""
    return any(one.get("segmentation") or ())


def _box(one: Mapping[str, Any], hw: tuple[int, int]) -> BoolArray:
    """Cover an object's box, to whole pixels outwards."""
    if not one.get("bbox"):
        raise DatasetError(
            f"the annotation {one.get('id')} has neither outline nor bbox; outline it, or remove it."
        )
    left, top, width, height = (float(value) for value in one["bbox"])
    rows = slice(max(0, math.floor(top)), max(0, math.ceil(top + height)))
    cols = slice(max(0, math.floor(left)), max(0, math.ceil(left + width)))
    mask = np.zeros(hw, np.bool_)
    mask[rows, cols] = True
    return mask


def _mask(segmentation: Any, hw: tuple[int, int]) -> BoolArray:
    if isinstance(segmentation, list):
        return rings.fill([[_corners(ring)] for ring in segmentation], hw).to_dense(hw)
    counts = segmentation["counts"]
    if tuple(segmentation["size"]) != hw:
        raise DatasetError(
            f"it is of an image of {segmentation['size']}, this one has {list(hw)} (height, width)."
        )
    return decode(unpack(counts) if isinstance(counts, str) else counts, hw).to_dense(hw)


def _corners(ring: Sequence[float]) -> FloatArray:
    return np.asarray(ring, dtype=np.float64).reshape(-1, 2)
