"""Label maps in memory, and the file names and formats of an export."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from ..errors import DuplicateNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..arrays import ClassInfo, IntArray, UInt8Array

KINDS = ("classes", "instances")
"""Suffixes of the file names of the class map and the instance map, before the file extension."""
WHOLE = "objects"
"""Suffix of the name of a file that contains both label maps or all objects of an image."""
DETAILS = "details"
"""Suffix of the name of the file that contains the details of the objects; see `LabelledObject.details`."""

Box: TypeAlias = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in image pixels; r1 and c1 are exclusive."""

_BLOCK_PX = 2048
"""Side of the blocks in which maps are read."""


class MapLike(Protocol):
    """A label map: a numpy array, a tiled map, or an array on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Size (H, W) in pixels."""

    @property
    def dtype(self) -> Any:
        """Data type of the values."""

    def __getitem__(self, key: Any, /) -> Any:
        """Read a window."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The label maps of one image."""

    class_map: Any
    """(H, W) uint8, class id of each pixel, 0 for none; an array or another `MapLike`."""
    instance_map: Any
    """(H, W) int32, object number of each pixel, 0 for none."""
    classes: tuple[ClassInfo, ...]
    """Classes that `class_map` may contain."""
    details: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Object number -> details; see `LabelledObject.details`."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about what was read, skipped or converted."""
    ignored: Any = None
    """(H, W) bool, True where the file states that the class is unknown; None if it is known everywhere."""


def file_name(stem: str, kind: str, suffix: str) -> str:
    """Return the name of an exported file, such as `<stem>_classes.png`; see `files.file_stem`."""
    return f"{stem}_{kind}.{suffix}"


def stem_of(file: str) -> str | None:
    """Extract the stem from the name of an exported file, the inverse of `file_name`; None for other files."""
    stem, _, end = file.rpartition("_")
    return stem if end.partition(".")[0] in (*KINDS, WHOLE, DETAILS) else None


def check_unique(classes: Sequence[ClassInfo], subject: str) -> None:
    """Check that classes have unique ids and names.

    Args:
        classes: The classes.
        subject: Subject of the error message, such as "The class list".

    Raises:
        DuplicateNameError: If two classes share an id or a name.
    """
    for key, values in (("id", [info.id for info in classes]), ("name", [info.name for info in classes])):
        for value, count in Counter(values).items():
            if count > 1:
                raise DuplicateNameError(
                    f"{subject} has {count} classes with the {key} '{value}'; give each class its own."
                )


def default_color(class_id: int) -> tuple[int, int, int]:
    """Return the default colour of a class; consecutive ids differ strongly in hue."""
    hue = (class_id * 0.618034) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def used_ids(class_map: MapLike) -> list[int]:
    """List the values of a class map (H, W) uint8 other than 0, in ascending order."""
    counts = np.zeros(256, dtype=np.int64)
    for r0, c0, r1, c1 in blocks(class_map):
        counts += np.bincount(np.asarray(class_map[r0:r1, c0:c1]).ravel(), minlength=256)
    return [int(class_id) for class_id in np.flatnonzero(counts) if class_id]


def numbers_in(instance_map: MapLike) -> IntArray:
    """List the numbers of an instance map (H, W) other than 0, in ascending order."""
    parts = [np.unique(np.asarray(instance_map[r0:r1, c0:c1])) for r0, c0, r1, c1 in blocks(instance_map)]
    numbers: IntArray = np.unique(np.concatenate([np.zeros(1, np.int64), *parts]))[1:]
    return numbers


def renumber(
    instance_map: MapLike, details: Mapping[int, Mapping[str, Any]]
) -> tuple[IntArray, dict[int, Mapping[str, Any]]]:
    """Renumber objects 1, 2, 3 ... in the order of their numbers.

    Args:
        instance_map: (H, W) object numbers, 0 for none.
        details: Number of an object -> its details.

    Returns:
        The instance map (H, W) int32, and the details by new number.
    """
    numbers = numbers_in(instance_map)
    result = np.zeros((instance_map.shape[0], instance_map.shape[1]), dtype=np.int32)
    old_numbers = np.concatenate([np.zeros(1, np.int64), numbers])
    for r0, c0, r1, c1 in blocks(instance_map):
        result[r0:r1, c0:c1] = np.searchsorted(old_numbers, np.asarray(instance_map[r0:r1, c0:c1]))
    renumbered = enumerate(numbers.tolist(), start=1)
    return result, {new: details[old] for new, old in renumbered if old in details}


def renumber_classes(class_map: MapLike, numbers: Mapping[int, int]) -> Any:
    """Replace the values of a class map (H, W) uint8; other values are kept.

    Args:
        class_map: The map.
        numbers: Value -> new value.

    Returns:
        An array, or for any other `MapLike` a map that is converted window by window.
    """
    table = np.arange(256, dtype=np.uint8)
    for old, new in numbers.items():
        table[old] = new
    return table[class_map] if isinstance(class_map, np.ndarray) else _Mapped(class_map, table)


class _Mapped:
    """A class map whose values are looked up in a table."""

    dtype = np.dtype(np.uint8)

    def __init__(self, values: MapLike, table: UInt8Array) -> None:
        self.values = values
        self.table = table
        self.shape = values.shape
        if hasattr(values, "filled_boxes"):
            self.filled_boxes = values.filled_boxes
        if hasattr(values, "read"):
            self.read = lambda box, step: table[values.read(box, step)]

    def __getitem__(self, key: Any) -> Any:
        return self.table[np.asarray(self.values[key])]


def blocks(values: MapLike, side_px: int = _BLOCK_PX) -> Iterator[Box]:
    """Yield windows that cover all non-zero pixels of a map, using its `filled_boxes` method if it has one."""
    filled_boxes = getattr(values, "filled_boxes", None)
    if filled_boxes is not None:
        yield from filled_boxes()
        return
    height, width = values.shape
    for top in range(0, height, side_px):
        for left in range(0, width, side_px):
            yield top, left, min(top + side_px, height), min(left + side_px, width)
