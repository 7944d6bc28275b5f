"""COCO JSON: objects with run lengths or polygons; https://cocodataset.org/#format-data.

Written files contain one image; files that are read may contain any number, or be a list of detections ("results").
Data that COCO does not define is stored in members that other readers ignore: "color" of a category, "sampath" of an
annotation.

`training/data/readers/coco.py` reads COCO files as training datasets with `CocoFile`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DatasetError, refuse
from ...files import JsonError, convert
from ...files.messages import plural
from ..class_numbers import FileClass
from ..foreign import Side, choose_image, parse_color, parse_ring
from ..format import KEEPS_ALL, Format, ImageEntry, Kept, ReadOptions, Shape, Shapes
from ..run_lengths import ColumnRuns
from ..source import Source
from .coco_writing import write
from .corners import reading_shape

_LISTS = {"images", "annotations", "categories"}
_LONGEST_NUMBER = 18
_NO_OUTLINE = "annotations without an outline"


@dataclass(frozen=True, slots=True, eq=False)
class CocoFile:
    """A COCO file whose annotations are grouped by image; ids are compared as text, so that 1 equals "1"."""

    path: Path
    images: tuple[ImageEntry, ...]
    """The images, in the order of the file."""
    keys: tuple[str, ...]
    """Id of each image."""
    classes: tuple[FileClass, ...]
    """The categories, in the order of the file; their numbers are those of the file, any integer."""
    class_names: Mapping[str, str]
    """Id of a category -> name of its class."""
    annotations: Mapping[str, Sequence[dict[str, Any]]]
    """Id of an image -> its annotations."""
    orphans: int
    """Number of annotations whose image is not listed."""
    malformed: int = 0
    """Number of entries of the annotation list that are not annotations."""

    @classmethod
    def of(cls, source: Source) -> CocoFile:
        """Read a file; the result is kept in the source.

        Raises:
            ImageError: If it does not have the layout of COCO.
        """
        if "coco" not in source.cache:
            source.cache["coco"] = _parse(source.json, source.path)
        cached: CocoFile = source.cache["coco"]
        return cached

    def read(self, index: int, boxes: bool = True) -> Shapes:
        """Return the annotations of one image.

        Args:
            index: Index in `images`.
            boxes: Return boxes without an outline as ignored areas instead of only counting them.

        Raises:
            ImageError: If an annotation has a category that is not listed, or run lengths of another size.
        """
        entry = self.images[index]
        shapes = Shapes(entry.hw, classes=list(self.classes), image=entry.name)
        for position, annotation in enumerate(self.annotations.get(self.keys[index], ()), start=1):
            identity = str(annotation.get("id", position))[:40]
            with reading_shape(shapes.malformed, "annotation", identity):
                _add(annotation, shapes, self, identity, boxes)
        if self.malformed:
            shapes.skipped["entries of another kind than annotations"] += self.malformed
        return shapes


def is_coco(content: Any) -> bool:
    """Return True if parsed JSON has the lists of a COCO file, or is a list of results."""
    if isinstance(content, list):
        return (
            bool(content)
            and isinstance(content[0], dict)
            and {"image_id", "category_id"} <= content[0].keys()
        )
    return isinstance(content, dict) and len(_LISTS & content.keys()) >= 2 and "annotations" in content


def read(source: Source, options: ReadOptions) -> Shapes:
    """Read the objects of one image.

    Args:
        source: The file.
        options: `image_name` selects the image, if there are several.

    Raises:
        ImageError: If it is not a COCO file, has several images and no name is given, a segmentation is malformed, or
            no annotation belongs to the image.
        UnknownNameError: If it has several images and none of that name.
    """
    file = CocoFile.of(source)
    if not file.images:
        refuse(source.path, "lists no images", "export it again")
    index = choose_image([image.name for image in file.images], options.image_name, source.path)
    shapes = file.read(index)
    if file.orphans and not file.annotations.get(file.keys[index]):
        refuse(
            source.path,
            f"has {plural(file.orphans, 'annotation')}, but none whose image_id is the id of the image "
            f"'{file.images[index].name}' ({file.keys[index]})",
            "correct the ids",
        )
    if file.orphans:
        shapes.skipped["annotations of images that are not listed"] += file.orphans
    return shapes


def _parse(content: Any, path: Path) -> CocoFile:
    if isinstance(content, list):
        content = {"images": _images_of_results(content), "annotations": content, "categories": []}
    lists = {key: content.get(key, [] if key == "categories" else None) for key in sorted(_LISTS)}
    for key, value in lists.items():
        if not isinstance(value, list):
            refuse(path, f"has no list '{key}', which a COCO file must have", "export it again")
    images: dict[str, ImageEntry] = {}
    for image in lists["images"]:
        key = _id_of(image, path, "an image")
        entry = _image(image, key)
        if images.setdefault(key, entry) != entry:
            names_of_both = f"the images '{images[key].name}' and '{entry.name}'"
            refuse(path, f"gives {names_of_both} the id {key}", "give each image its own id")
    names: dict[str, str] = {}
    classes = []
    for category in lists["categories"]:
        key = _id_of(category, path, "a category")
        name = str(category.get("name") or f"class {key}")
        if names.setdefault(key, name) != name:
            refuse(
                path,
                f"gives the categories '{names[key]}' and '{name}' the id {key}",
                "give each category its own id",
            )
        classes.append(FileClass(names[key], _number(key), parse_color(category.get("color"))))
    groups, orphans, malformed = _group(lists["annotations"], images)
    return CocoFile(
        path, tuple(images.values()), tuple(images), tuple(classes), names, groups, orphans, malformed
    )


def _group(entries: list[Any], images: Mapping[str, Any]) -> tuple[dict[str, list[Any]], int, int]:
    """Group annotations by image; also return how many have no listed image, and how many are malformed."""
    groups: dict[str, list[Any]] = {}
    orphans = malformed = 0
    for entry in entries:
        if not isinstance(entry, dict):
            malformed += 1
        elif (key := _key(entry.get("image_id"))) in images:
            groups.setdefault(str(key), []).append(entry)
        else:
            orphans += 1
    return groups, orphans, malformed


def _images_of_results(results: list[Any]) -> list[dict[str, Any]]:
    """List the images of a list of results, with the size that their run lengths state."""
    images: dict[Any, dict[str, Any]] = {}
    for result in results:
        key = result.get("image_id") if isinstance(result, dict) else None
        if _key(key) is None:
            continue
        image = images.setdefault(_key(key), {"id": key, "file_name": str(key)})
        segmentation = result.get("segmentation")
        if (
            isinstance(segmentation, dict)
            and isinstance(size := segmentation.get("size"), list)
            and len(size) == 2
        ):
            image["height"], image["width"] = size
    return list(images.values())


def _key(value: Any) -> str | None:
    """Return an id as text; None if it is neither a number nor a text."""
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return str(int(value)) if value == int(value) else str(value)


def _id_of(entry: Any, path: Path, what: str) -> str:
    key = _key(entry.get("id")) if isinstance(entry, dict) else None
    return key if key is not None else refuse(path, f"lists {what} without an id", "export it again")


def _number(key: str) -> int | None:
    return int(key) if key.isdecimal() and len(key) < _LONGEST_NUMBER else None


def _image(image: dict[str, Any], key: str) -> ImageEntry:
    try:
        hw = _side(image.get("height")), _side(image.get("width"))
    except JsonError:
        hw = None
    known = ("id", "file_name", "height", "width")
    extra = {name: value for name, value in image.items() if name not in known}
    return ImageEntry(str(image.get("file_name") or key).replace("\\", "/"), hw, extra)


def _side(value: Any) -> int:
    """Convert a height or width, also from text."""
    is_text = isinstance(value, str) and value.isdecimal() and len(value) < _LONGEST_NUMBER
    side: int = convert(int(value) if is_text else value, Side)
    return side


def _add(entry: dict[str, Any], shapes: Shapes, file: CocoFile, identity: str, boxes: bool) -> None:
    """Add an annotation to the objects or to the ignored areas, or count it as skipped."""
    class_names = file.class_names
    key = _key(entry.get("category_id"))
    if key is None or (class_names and key not in class_names):
        problem = (
            f"has an annotation {identity} whose category {str(entry.get('category_id'))[:40]} is not listed"
        )
        refuse(file.path, problem, "add the category or correct the annotation")
    name = class_names.get(key, f"class {key}")  # A list of results has no categories.
    if not class_names and all(item.name != name for item in shapes.classes):
        shapes.classes.append(FileClass(name, _number(key)))
    segmentation = entry.get("segmentation")
    if not segmentation or (isinstance(segmentation, list) and not any(segmentation)):
        if boxes and (box := entry.get("bbox")):
            x, y, width, height = (convert(value, float, "bbox") for value in box)
            # Ignore every pixel that the box touches.
            left, top = math.floor(x), math.floor(y)
            right, bottom = math.ceil(x + width), math.ceil(y + height)
            corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
            shapes.ignored.append(Shape(name, [[np.array(corners)]]))
        else:
            shapes.skipped[_NO_OUTLINE] += 1
        return
    polygons, runs = _decode(segmentation, shapes, file.path, identity)
    details, number = _details(entry)
    shapes.items.append(
        Shape(
            name, polygons, runs, number=number, details=details, is_crowd=entry.get("iscrowd") in (1, True)
        )
    )


def _decode(
    segmentation: Any, shapes: Shapes, path: Path, identity: str
) -> tuple[list[list[Any]], ColumnRuns | None]:
    """Decode the "segmentation" of an annotation: polygons, run lengths, or run lengths compressed to a string.

    Raises:
        ImageError: If the run lengths are those of an image of another size.
        JsonError: If the run lengths are malformed.
        LookupError, TypeError, ValueError, AttributeError: If it has none of these layouts.
    """
    if isinstance(segmentation, list):
        if not isinstance(segmentation[0], list | dict):  # One polygon without the list around it.
            segmentation = [segmentation]
        return [[parse_ring(ring)] for ring in segmentation if ring], None
    height, width = convert(segmentation.get("size", list(shapes.hw or ())), tuple[Side, Side], "size")
    if shapes.hw is not None and shapes.hw != (height, width):
        stated = (
            f"{width} x {height} px, but its image is {shapes.hw[1]} x {shapes.hw[0]} px (width x height)"
        )
        refuse(path, f"has an annotation {identity} of {stated}", "export it again")
    try:
        runs = ColumnRuns.parse(segmentation["counts"], (height, width))
    except DatasetError as error:
        raise JsonError(str(error).partition(";")[0].rstrip(".")) from error
    shapes.hw = height, width
    return [], runs


def _details(entry: dict[str, Any]) -> tuple[dict[str, Any], int | None]:
    stored = entry.get("sampath")
    details = dict(stored) if isinstance(stored, dict) else {}
    number = details.pop("number", None)
    score = entry.get("score")
    if "score" not in details and isinstance(score, int | float) and math.isfinite(score):
        details["score"] = float(score)
    return details, number if type(number) is int else None


_KEEPS: frozenset[Kept] = KEEPS_ALL
FORMATS = (
    Format(
        "coco",
        "COCO (run lengths)",
        (".json",),
        recognises=lambda source: source.is_json and is_coco(source.json),
        read=read,
        images=lambda source: CocoFile.of(source).images,
        write=partial(write, polygons=False),
        summary="For machine learning; exact to the pixel.",
        keeps=_KEEPS,
        lost="Keypoints, captions and boxes without an outline are not read; boxes are counted.",
    ),
    Format(
        "coco-polygons",
        "COCO (polygons)",
        (".json",),
        write=partial(write, polygons=True),
        summary="For programs that read outlines only.",
        keeps=_KEEPS,
        lost="Objects with holes are cut into parts without holes.",
        reader="coco",
    ),
)
