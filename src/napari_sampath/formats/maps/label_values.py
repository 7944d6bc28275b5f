"""Interpretation of label maps: whether their values are classes or objects, for all formats.

`ReadOptions.as_` decides. If it is "auto":

1. Values of files that are named like maps of object numbers (`OBJECT_MAPS`) are objects.
2. Values are classes if there is a single value of 8 bits, a palette, or if all are numbers of known classes.
3. Values above 255 are objects.
4. A map of more than 16 values of 8 bits with gaps is a smoothed mask if many of its pixels are nearly as bright as
   the brightest, or if most values occur in several areas. It is refused, with the advice to give a threshold.
5. If nearly every value is a single connected area, the values are objects; with 8 bits, only if there are at least 4.
   Otherwise they are classes.

In a map of classes, each connected area of a class is an object.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...arrays import ClassInfo
from ...errors import ImageError
from ...files.messages import plural
from ..class_numbers import MAX_CLASSES, FileClass, add_to_table
from ..format import Choice, ImportChoiceError, ReadOptions
from ..labels import Labels, MapLike, blocks, default_color, numbers_in

if TYPE_CHECKING:
    from ...arrays import IntArray, UInt8Array

OBJECT_MAPS = ("_cp_masks", "_instances")
"""Ends of the names of label maps whose values are object numbers, as written by Cellpose and by exports."""
_SMOOTHED_VALUES = 16
_BRIGHT, _BRIGHT_SHARE = 0.9, 0.3
"""In a smoothed mask, at least 30 % of the labelled pixels have at least 90 % of the highest value."""
_FEW_VALUES = 4
_MAX_COUNTED_PX = 2**28
"""Largest map in which connected areas are counted, in pixels."""
_MAX_NUMBER = 2**31 - 1


def to_labels(
    values: MapLike,
    options: ReadOptions,
    path: Path,
    palette: UInt8Array | None = None,
    known: Sequence[FileClass] = (),
    object_class: str = "class 1",
) -> Labels:
    """Interpret the values of a label map of another program.

    Args:
        values: (H, W) bool or whole numbers from 0; an array, or another `MapLike`.
        options: Whether they are classes or objects, or from which value on they are one class.
        path: For error messages.
        palette: (256, 3) RGB colours of the values, if the file has them.
        known: Classes whose numbers are values, from another file.
        object_class: Name of the class of all objects, if the values are objects.

    Raises:
        ImportChoiceError: If the values are those of a smoothed mask, or `options.as_` is "ask" and it is not clear.
        ImageError: If there are more than 255 classes, or an object number exceeds 31 bits.
    """
    if options.threshold is not None:
        array = np.asarray(values[:]) >= options.threshold
        note = f"Values from {options.threshold} on were read as one class."
        return Labels(array.astype(np.uint8), _areas(array), (_unnamed(1, None),), notes=(note,))
    numbers = numbers_in(values)
    if len(numbers) and int(numbers[-1]) > _MAX_NUMBER:
        raise ImageError(
            f"'{path}' contains {numbers[-1]}, but values must be from 0 to {_MAX_NUMBER}; renumber them."
        )
    if decide(values, numbers, options, path, palette is not None, known) == "objects":
        return _objects(values, numbers, known, object_class)
    return _classes(values, numbers, path, palette, known)


def decide(
    values: MapLike,
    numbers: IntArray,
    options: ReadOptions,
    path: Path,
    has_palette: bool = False,
    known: Sequence[FileClass] = (),
) -> Literal["classes", "objects"]:
    """Decide whether the values of a label map are classes or objects; see the rules of this module.

    Args:
        values: (H, W) bool or whole numbers from 0.
        numbers: (N,) its values other than 0, in ascending order.
        options: `as_` is the user's decision.
        path: For error messages.
        has_palette: Whether the values are indices of a palette.
        known: Classes whose numbers may be values.

    Raises:
        ImportChoiceError: See `to_labels`.
    """
    if options.as_ in ("classes", "objects"):
        return "classes" if options.as_ == "classes" else "objects"
    if path.stem.endswith(OBJECT_MAPS):
        return "objects"
    count = len(numbers)
    narrow = np.dtype(values.dtype).itemsize == 1
    if (
        not count
        or (count == 1 and narrow)
        or has_palette
        or set(numbers.tolist()) <= {item.number for item in known}
    ):
        return "classes"
    if int(numbers[-1]) > MAX_CLASSES:
        return "objects"
    areas = _count_areas(values)
    question = f"'{path}' has {plural(count, 'value')}"
    if narrow:
        _refuse_smoothed(values, numbers, areas, question)
    if options.as_ == "ask":
        raise ImportChoiceError(
            f"{question}, which are classes or numbers of objects",
            "choose one of them",
            [
                Choice(plural(count, "class"), {"as_": "classes"}, "--as classes"),
                Choice(plural(count, "object"), {"as_": "objects"}, "--as objects"),
            ],
        )
    if areas is None:
        return "classes" if narrow else "objects"
    is_single = areas <= (1.1 if narrow else 1.5) * count
    return "objects" if is_single and not (narrow and count < _FEW_VALUES) else "classes"


def _refuse_smoothed(values: MapLike, numbers: IntArray, areas: int | None, question: str) -> None:
    """Raise if values are those of a mask that was resized with smoothing."""
    count, lowest, highest = len(numbers), int(numbers[0]), int(numbers[-1])
    is_range = highest - lowest + 1 == count and highest < MAX_CLASSES
    if areas is None or count <= _SMOOTHED_VALUES or is_range:
        return
    # The inside of a smoothed mask is nearly white, and each value of its edges occurs in many places.
    sizes = np.zeros(256, dtype=np.int64)
    for r0, c0, r1, c1 in blocks(values):
        sizes += np.bincount(np.asarray(values[r0:r1, c0:c1]).ravel(), minlength=256)
    bright = sizes[int(_BRIGHT * highest) :].sum() / sizes[1:].sum()
    if areas <= 2 * count and bright < _BRIGHT_SHARE:
        return
    middle = (lowest + highest + 1) // 2
    raise ImportChoiceError(
        f"{question} in {plural(areas, 'area')}, like a mask that was resized with smoothing",
        "export it without smoothing",
        [
            Choice(f"Threshold {middle}", {"threshold": middle}, f"--threshold {middle}"),
            Choice("Classes", {"as_": "classes"}, "--as classes"),
            Choice("Objects", {"as_": "objects"}, "--as objects"),
        ],
    )


def add_missing(
    numbers: Sequence[int], classes: Sequence[ClassInfo], palette: UInt8Array | None = None
) -> tuple[ClassInfo, ...]:
    """Add a class such as "class 3" for every number that has none, with its colour in the palette if any."""
    ids = {info.id for info in classes}
    names = {info.key for info in classes}
    added = []
    for number in numbers:
        if number not in ids:
            info = _unnamed(number, palette)
            while info.key in names:
                info = ClassInfo(info.id, f"{info.name}'", info.color)
            names.add(info.key)
            added.append(info)
    return (*classes, *added)


def _objects(values: MapLike, numbers: IntArray, known: Sequence[FileClass], object_class: str) -> Labels:
    name = known[0].name if len(known) == 1 else object_class
    number = known[0].number if len(known) == 1 else 1
    numbered = add_to_table((), [FileClass(name, number, known[0].color if len(known) == 1 else None)])
    info = numbered.classes[0]
    note = f"{_count(numbers)} read as {plural(len(numbers), 'object')} of one class."
    class_map: Any = Foreground(values, info.id)
    if isinstance(values, np.ndarray):
        class_map, values = class_map[:], values.astype(np.int32)
    return Labels(
        class_map, values, numbered.classes if len(numbers) else (), notes=(note,) if len(numbers) else ()
    )


def _classes(
    values: MapLike, numbers: IntArray, path: Path, palette: UInt8Array | None, known: Sequence[FileClass]
) -> Labels:
    if len(numbers) > MAX_CLASSES:
        raise ImageError(
            f"'{path}' has {len(numbers):,} values, more than the {MAX_CLASSES} classes allowed; import them as "
            "objects."
        )
    listed = {
        item.number: item for item in known if item.number is not None and 0 < item.number <= MAX_CLASSES
    }
    used = add_to_table((), list(listed.values())).classes
    values_in_range = [number for number in numbers.tolist() if number <= MAX_CLASSES]
    table = add_missing(values_in_range, used, palette)
    large = [FileClass(f"class {number}", number) for number in numbers.tolist() if number > MAX_CLASSES]
    numbered = add_to_table(table, large, f"'{path.name}'")
    lookup = dict(zip(values_in_range, values_in_range, strict=True))
    lookup |= dict(zip((item.number for item in large), numbered.numbers, strict=True))
    notes = numbered.notes
    if len(numbers) > 1:
        notes = (f"{_count(numbers)} read as {len(numbers)} classes.", *notes)
    class_map = values if not large else _mapped(np.asarray(values[:]), lookup)
    if isinstance(class_map, np.ndarray):
        class_map = class_map.astype(np.uint8)
        return Labels(class_map, _areas(class_map), numbered.classes, notes=notes)
    return Labels(Cast(class_map), Zeros(class_map), numbered.classes, notes=notes)


def _count(numbers: IntArray) -> str:
    return "1 value was" if len(numbers) == 1 else f"{len(numbers):,} values were"


def _mapped(values: Any, lookup: dict[Any, int]) -> UInt8Array:
    numbers, inverse = np.unique(values, return_inverse=True)
    ids = np.array([lookup.get(number, 0) for number in numbers.tolist()], dtype=np.uint8)
    mapped: UInt8Array = ids[inverse].reshape(values.shape)
    return mapped


def _unnamed(number: int, palette: UInt8Array | None) -> ClassInfo:
    color = default_color(number)
    if palette is not None and palette[number].any():
        red, green, blue = palette[number].tolist()
        color = (red, green, blue)
    return ClassInfo(number, f"class {number}", color)


def _count_areas(values: MapLike) -> int | None:
    """Return the number of 8-connected areas of equal values other than 0; None if the map is too large."""
    boxes = list(blocks(values))
    if not boxes or values.shape[0] * values.shape[1] > _MAX_COUNTED_PX:
        return None
    return int(_areas(np.asarray(values[:])).max(initial=0))


def _areas(values: Any) -> IntArray:
    from skimage.measure import label  # Slow to import.

    areas: IntArray = label(values, background=0, connectivity=2).astype(np.int32)
    return areas


class Cast:
    """A label map as uint8."""

    dtype = np.dtype(np.uint8)

    def __init__(self, values: MapLike) -> None:
        self.values = values
        self.shape = values.shape
        if hasattr(values, "filled_boxes"):
            self.filled_boxes = values.filled_boxes

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self.values[key]).astype(np.uint8)


class Foreground(Cast):
    """A class map with one class where another map is positive."""

    def __init__(self, values: MapLike, class_id: int) -> None:
        super().__init__(values)
        self.class_id = class_id

    def __getitem__(self, key: Any) -> Any:
        return np.where(np.asarray(self.values[key]) > 0, self.class_id, 0).astype(np.uint8)


class Zeros(Cast):
    """A map of zeros of the shape of another map."""

    def __init__(self, values: MapLike) -> None:
        super().__init__(values)
        self.filled_boxes = lambda: iter(())

    def __getitem__(self, key: Any) -> Any:
        return np.zeros(np.asarray(self.values[key]).shape, dtype=np.uint8)
