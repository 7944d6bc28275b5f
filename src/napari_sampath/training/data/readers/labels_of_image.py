"""Labels of one image in any registered format, with the class numbers of a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ....arrays import ClassInfo, LocalMask, UInt8Array, class_key
from ....errors import DatasetError, ImageError
from ....files.messages import plural_of
from ....formats import Labels, Objects
from ....formats.class_numbers import FileClass, add_to_table
from ....formats.conversion.marked_points import skip_points
from ....formats.conversion.painting import paint
from ....formats.format import Format, ImportChoiceError, ReadOptions, Shapes
from ....formats.source import Source
from ..dataset import Item
from .classes import BACKGROUND, without_choices


@dataclasses.dataclass(slots=True)
class ClassTable:
    """Class numbers of a dataset: a class has one number in all its files, wherever possible that of the first file."""

    classes: tuple[ClassInfo, ...] = ()
    notes: list[str] = dataclasses.field(default_factory=list)
    """Sentences about classes whose number differs between files."""

    def add(self, given: Sequence[FileClass], file: Path) -> None:
        """Add the classes of a file; those of a known name keep their number."""
        named = [item for item in given if class_key(item.name) != BACKGROUND.key]
        numbered = add_to_table(self.classes, named, f"'{file.name}'")
        self.classes = numbered.classes
        self.notes += numbered.notes

    @property
    def numbers(self) -> dict[str, int]:
        """Key of a class -> its number; the background has the number 0."""
        return {BACKGROUND.key: 0, **{info.key: info.id for info in self.classes}}


def used_classes(content: Shapes | Labels | Objects) -> list[FileClass]:
    """Return the classes of an image that have an object, in the order in which the file lists them."""
    if isinstance(content, Shapes):
        listed = {class_key(item.name): item for item in reversed(content.classes)}
        used = {class_key(shape.class_name): shape for shape in reversed(content.items) if not shape.is_crowd}
        unlisted = [FileClass(s.class_name, color=s.color) for key, s in used.items() if key not in listed]
        return [*(item for key, item in reversed(listed.items()) if key in used), *unlisted]
    ids = (
        {obj.class_id for obj in content.items}
        if isinstance(content, Objects)
        else set(np.unique(np.asarray(content.class_map[:])).tolist())
    )
    return [FileClass(info.name, info.id, info.color) for info in content.classes if info.id in ids]


def read_content(format_: Format, source: Source, name: str, hw: tuple[int, int]) -> Shapes | Labels:
    """Read the annotations of an image.

    Args:
        format_: Format of the file.
        source: The file.
        name: Name of the image.
        hw: Size (H, W) of the image.

    Raises:
        DatasetError: If the file is for an image of another size, or is malformed.
    """
    if format_.read is None:
        raise DatasetError(f"'{source.path}' is a {format_.label} file, which cannot be read.")
    try:
        return format_.read(source, ReadOptions(image_name=name, hw=hw))
    except ImportChoiceError as error:
        raise without_choices(error) from error


def to_item(
    pixels: UInt8Array, content: Shapes | Labels, numbers: Mapping[str, int], image: Path, labels: Path
) -> Item:
    """Convert the annotations of an image to label maps.

    The areas that COCO calls crowds, and boxes without an outline, are ignored.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        content: The annotations.
        numbers: Key of a class -> its number in the dataset.
        image: Path of the image, for error messages.
        labels: Path of the annotation file, for error messages.

    Raises:
        DatasetError: If the annotations are for an image of another size.
    """
    hw = pixels.shape[0], pixels.shape[1]
    stated = content.hw if isinstance(content, Shapes) else tuple(content.class_map.shape)
    if stated is not None and stated != hw:
        raise DatasetError(
            f"The labels of '{image.name}' in '{labels}' are for an image of {stated[1]} x {stated[0]} px, but "
            f"'{image}' is {hw[1]} x {hw[0]} px (width x height); export the labels for this size, or restore the "
            "image."
        )
    if isinstance(content, Labels):
        return _item_of_maps(pixels, content, numbers, labels)
    # Remove the numbers of the file: those of the dataset are used, and `paint` would add notes about the difference.
    classes = [dataclasses.replace(item, number=None) for item in content.classes]
    content = dataclasses.replace(content, classes=classes)
    ignored = [*content.ignored, *(shape for shape in content.items if shape.is_crowd)]
    items = [shape for shape in content.items if not shape.is_crowd]
    drawn = _painted(dataclasses.replace(content, items=items, ignored=[]), hw, labels)
    areas = dataclasses.replace(content, items=ignored, ignored=[], is_ordered=True, notes=[])
    areas.skipped = type(content.skipped)()
    outside = [obj.mask for obj in _painted(areas, hw, labels).items]
    notes = [*drawn.notes, *([f"Ignored: {_count(len(outside))}."] if outside else [])]
    used = {obj.class_id for obj in drawn.items}
    ids = {info.id: _number(info, numbers, labels) for info in drawn.classes if info.id in used}
    return _item_of_objects(pixels, drawn, outside, ids, notes)


def _painted(shapes: Shapes, hw: tuple[int, int], path: Path) -> Objects:
    """Rasterise shapes; an image may have none."""
    if not shapes.items:
        skip_points(shapes, ReadOptions(), path)
        notes = [f"Left out: {plural_of(number, reason)}." for reason, number in shapes.skipped.items()]
        return Objects(hw, (), (), (*shapes.notes, *notes))
    try:
        return paint(shapes, ReadOptions(hw=hw), path)
    except ImportChoiceError as error:
        raise without_choices(error) from error
    except ImageError as error:
        raise DatasetError(str(error)) from error


def _item_of_objects(
    pixels: UInt8Array,
    objects: Objects,
    ignored: Iterable[LocalMask],
    numbers: Mapping[int, int],
    notes: Sequence[str],
) -> Item:
    hw = pixels.shape[0], pixels.shape[1]
    labels, instances = np.zeros(hw, np.uint8), np.zeros(hw, np.int32)
    for number, obj in enumerate(objects.items, start=1):
        class_id = numbers[obj.class_id]
        labels[obj.mask.slices][obj.mask.bitmap] = class_id
        instances[obj.mask.slices][obj.mask.bitmap] = number if class_id else 0
    verified = np.ones(hw, np.bool_)
    for mask in ignored:
        verified[mask.slices][mask.bitmap] = False
    return Item(pixels, labels, instances, verified, tuple(notes))


def _item_of_maps(pixels: UInt8Array, labels: Labels, numbers: Mapping[str, int], path: Path) -> Item:
    class_map = np.asarray(labels.class_map[:])
    lookup = np.zeros(256, np.uint8)
    used = set(np.unique(class_map).tolist())
    for info in labels.classes:
        if info.id in used:
            lookup[info.id] = _number(info, numbers, path)
    instances = np.asarray(labels.instance_map[:]).astype(np.int32)
    verified = None if labels.ignored is None else ~np.asarray(labels.ignored)
    return Item(
        pixels, lookup[class_map], instances if instances.any() else None, verified, tuple(labels.notes)
    )


def _number(info: ClassInfo, numbers: Mapping[str, int], path: Path) -> int:
    if info.key not in numbers:
        raise DatasetError(
            f"'{path}' has the class '{info.name}', which it did not have before; open the dataset again."
        )
    return numbers[info.key]


def _count(areas: int) -> str:
    crowds = "crowd or box" if areas == 1 else "crowds or boxes"
    return f"{areas:,} {crowds} without an outline"
