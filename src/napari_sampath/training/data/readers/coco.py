"""Datasets in COCO files: images, categories, and objects as polygons or run-length encoded masks.

`formats/coco.py` parses the files, and imports and exports the objects of single images.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....arrays import BoolArray, ClassInfo
from ....errors import DatasetError, SampathError
from ....formats.labels import default_color
from ....formats.outlines.coco_lists import CocoContent, decode_segmentation
from ....images import read
from ..dataset import Dataset, Item, Sample
from .classes import with_background
from .plain import unknown_groups
from .splits import with_splits


def open_coco(path: Path) -> Dataset | None:
    """Open a COCO file, or a folder with COCO files; return None if it contains none.

    A folder contains one file, or one file per split with "train", "val" or "test" in its name. Images are searched for
    next to the file, in `images/`, in the folder of the split, and in the same places one level up. Smaller objects are
    drawn over larger ones. The pixels of crowds, and of objects with a box but no outline, are ignored in training and
    evaluation. The key "group", "slide", "case" or "patient" of an image states its case.

    Raises:
        DatasetError: If a file is not in COCO format, an image is missing, or an object has an unlisted category.
    """
    files = [path] if path.is_file() else _find(path)
    if not files:
        return None
    samples: list[Sample] = []
    classes: tuple[ClassInfo, ...] = ()
    all_grouped = True
    for file in files:
        content = _read(file)
        listed = _classes(content, file)
        if classes and listed != classes:
            raise DatasetError(f"'{file}' has different categories from '{files[0]}'; make them the same.")
        classes = listed
        named = (split for split in ("train", "val", "test") if split in file.stem.lower())
        split = next(named, "") if len(files) > 1 else ""
        for sample, grouped in _samples(content, file, split):
            samples.append(sample)
            all_grouped = all_grouped and grouped
    note = "" if all_grouped else unknown_groups(path)
    values = {info.id: info.id for info in classes}
    return Dataset(path.stem, tuple(with_splits(samples)), classes, values, note=note)


def _find(folder: Path) -> list[Path]:
    for parent in (folder, folder / "annotations"):
        files = [file for file in sorted(parent.glob("*.json")) if _is_coco(file)]
        if files:
            return files
    return []


def _is_coco(path: Path) -> bool:
    try:
        return {"images", "annotations", "categories"} <= set(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return False


def _read(path: Path) -> CocoContent:
    try:
        return CocoContent.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{path}' is not a COCO file ({error}); it must list images, annotations and categories."
        ) from error


def _classes(content: CocoContent, path: Path) -> tuple[ClassInfo, ...]:
    try:
        classes = [ClassInfo(i, str(c["name"]), default_color(i)) for i, c in content.categories.items()]
    except (LookupError, TypeError) as error:
        raise DatasetError(f"'{path}' has a category without a name ({error}); add the name.") from error
    if any(not 1 <= info.id <= 255 for info in classes):
        raise DatasetError(
            f"'{path}' has the category ids {list(content.categories)}, but ids must be from 1 to 255; renumber "
            "the categories."
        )
    return with_background(classes)


def _samples(content: CocoContent, file: Path, split: str) -> list[tuple[Sample, bool]]:
    """Return the sample of each image, and whether its slide or case is known."""
    for entry in (entry for entries in content.annotations.values() for entry in entries):
        if entry.get("category_id") not in content.categories:
            raise DatasetError(
                f"'{file}' has an object of category {entry.get('category_id')}, which is not one of its categories "
                f"{sorted(content.categories)}; add the category, or change that of the object."
            )
    samples = []
    for image in content.images:
        name = str(image.get("file_name", ""))
        group = next((str(image[k]) for k in ("group", "slide", "case", "patient") if image.get(k)), "")
        load = functools.partial(_load, objects=content.annotations.get(image.get("id"), ()))
        sample = Sample(Path(name).stem, _image(file, name, split), file, group or name, split, load=load)
        samples.append((sample, bool(group)))
    return samples


def _image(file: Path, name: str, split: str) -> Path:
    for parent in (file.parent, file.parent.parent):
        for path in (parent / name, parent / "images" / name, parent / split / name):
            if name and path.is_file():
                return path
    raise DatasetError(f"The image '{name}' listed in '{file}' is missing; copy it next to that file.")


def _load(sample: Sample, objects: Sequence[Mapping[str, Any]]) -> Item:
    pixels = read(sample.image).pixels
    hw = pixels.shape[0], pixels.shape[1]
    masks = []
    for entry in objects:
        try:
            masks.append((entry, _mask(entry, hw)))
        except (SampathError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise DatasetError(
                f"An object of '{sample.name}' in '{sample.labels}' cannot be read: {error}"
            ) from error
    labels, instances = np.zeros(hw, np.uint8), np.zeros(hw, np.int32)
    verified = np.ones(hw, np.bool_)
    masks.sort(key=lambda pair: -int(pair[1].sum()))
    for number, (entry, mask) in enumerate(masks, start=1):
        if entry.get("iscrowd") or not _has_outline(entry):
            verified &= ~mask
        else:
            labels[mask], instances[mask] = entry["category_id"], number
    return Item(pixels, labels, instances, verified)


def _has_outline(entry: Mapping[str, Any]) -> bool:
    """Return whether an object has an outline; with `"segmentation": []` it has only a box."""
    return any(entry.get("segmentation") or ())


def _mask(entry: Mapping[str, Any], hw: tuple[int, int]) -> BoolArray:
    """Rasterise the outline of an object or, if it has none, its box, rounded outwards to whole pixels."""
    if _has_outline(entry):
        return decode_segmentation(entry["segmentation"], hw).to_dense(hw)
    if not entry.get("bbox"):
        raise DatasetError(
            f"the annotation {entry.get('id')} has neither a segmentation nor a bbox; add one, or remove the "
            "annotation."
        )
    left, top, width, height = (float(value) for value in entry["bbox"])
    mask = np.zeros(hw, np.bool_)
    mask[
        max(0, math.floor(top)) : max(0, math.ceil(top + height)),
        max(0, math.floor(left)) : max(0, math.ceil(left + width)),
    ] = True
    return mask
