"""Class lists of dataset folders: read from `classes.json` or collected from the label maps."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....arrays import ClassInfo, IntArray
from ....errors import DatasetError
from ....files import JsonError, convert, read_json
from ....files.messages import plural
from ....formats.class_numbers import FileClass
from ....formats.format import ImportChoiceError, ReadOptions, ValuesAs
from ....formats.labels import default_color
from ....formats.maps.known_classes import class_list
from ....formats.maps.label_values import OBJECT_MAPS, decide
from ....heads.base import check_classes
from ....rasters import Raster, read_labels
from ....registry import join_names
from ..dataset import IGNORED, Sample

_FEW_VALUES = 4
"""Minimum number of values in a label map to distinguish classes from objects."""
BACKGROUND = ClassInfo(0, "background", (0, 0, 0))
_REST = "rest"
"""Name of class 0 in files of earlier versions, and if the user has a class called "background"."""


def with_background(classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Sort classes by id, and add class 0 if it is missing; it is called "background", or "rest" if that is taken."""
    classes = sorted(classes, key=lambda info: info.id)
    if not classes or classes[0].id:
        classes = [BACKGROUND, *classes]
    if classes[0].name in (BACKGROUND.name, _REST):
        is_taken = any(info.key == BACKGROUND.key for info in classes[1:])
        classes[0] = dataclasses.replace(classes[0], name=_REST if is_taken else BACKGROUND.name)
    return check_classes(classes)


@dataclasses.dataclass(frozen=True, slots=True)
class MaskClasses:
    """Meaning of the values of the label maps of a dataset."""

    classes: tuple[ClassInfo, ...]
    ignored: frozenset[int] = frozenset()
    """Values that are ignored."""
    object_class: ClassInfo | None = None
    """The class of all objects, if the values are object numbers; None if they are classes."""
    remarks: tuple[str, ...] = ()
    """Sentences for the user."""


def find_classes(folder: Path, samples: Sequence[Sample], as_: ValuesAs = "auto") -> MaskClasses:
    """Determine the meaning of the values of label maps.

    `classes.json` names the classes. Without it, or if it lists a single class, values above 255 are objects; so are
    those of files with a name of `OBJECT_MAPS`, and of maps in which nearly every value is one connected area
    (`label_values.decide`, `_Votes`). Otherwise each value is a class, except 255, which is ignored unless it is the
    only value.

    Args:
        folder: The folder; `classes.json` is in it or in `labels/` or `masks/`.
        samples: The images.
        as_: The user's decision; "auto" decides by the values.

    Raises:
        DatasetError: If a value has no class, the maps look like masks that were resized with smoothing, or 255 may be
            ignored or a class.
    """
    candidates = [folder / "classes.json", *(sample.labels.parent / "classes.json" for sample in samples[:1])]
    path = next((file for file in candidates if file.is_file()), None)
    listed = [] if path is None else _read_classes(path)
    if as_ == "auto" and all(sample.labels.stem.endswith(OBJECT_MAPS) for sample in samples):
        as_ = "objects"
    named = [info for info in listed if info.id]
    if path is not None and (len(named) != 1 or as_ == "classes") and as_ != "objects":
        return _by_class(listed)
    values = set[int]()
    votes = _Votes(as_, named)
    whites = _Whites()
    for sample in samples:
        raster = read_labels(_existing(sample.labels))
        numbers = np.unique(raster.values)
        numbers = numbers[numbers > 0].astype(np.int64)
        values |= set(numbers.tolist())
        votes.add(raster, numbers, sample.labels)
        whites.add(numbers, sample.labels)
    is_named = as_ == "auto" and len(named) == 1 and values <= {named[0].id, IGNORED}
    if votes.for_objects and not is_named:
        info = named[0] if len(named) == 1 else ClassInfo(1, "object", default_color(1))
        remark = (
            f"The {votes.numbers:,} values of {len(samples):,} label maps were read as objects of the class "
            f"'{info.name}'; add --as classes if they are classes."
        )
        return MaskClasses(with_background([info]), object_class=info, remarks=(remark,))
    if path is not None:
        return whites.said(_by_class(listed))
    if values and max(values) > IGNORED:
        raise DatasetError(
            f"The label maps of '{folder}' contain values up to {max(values)}, but class numbers must be from 0 to "
            "255; add --as objects if the values are numbers of objects."
        )
    whites.check(folder)
    # In black-and-white masks, 255 marks objects, not ignored pixels.
    ids = sorted(v for v in values if v < IGNORED) or sorted(values)
    return whites.said(_by_class([ClassInfo(v, f"class {v}", default_color(v)) for v in ids]))


def _by_class(listed: Sequence[ClassInfo]) -> MaskClasses:
    classes = with_background(listed)
    return MaskClasses(classes, frozenset({IGNORED} - {info.id for info in classes}))


class _Whites:
    """The label maps in which the value 255 occurs: alone, or beside other values."""

    def __init__(self) -> None:
        self._alone: list[Path] = []
        self._beside = 0
        self._others = set[int]()
        """Values of the maps without 255."""

    def add(self, numbers: IntArray, path: Path) -> None:
        """Add the values other than 0 of a label map."""
        if IGNORED not in numbers:
            self._others |= set(numbers.tolist())
        elif len(numbers) == 1:
            self._alone.append(path)
        else:
            self._beside += 1

    def check(self, folder: Path) -> None:
        """Raise a `DatasetError` if black-and-white masks are probably mixed with maps of class numbers."""
        if self._alone and self._others and not self._beside:
            raise DatasetError(
                f"{plural(len(self._alone), 'label map')} (such as '{self._alone[0].name}') of only the value 255 and "
                f"others of {join_names([str(value) for value in sorted(self._others)])} are in '{folder}'; give each "
                "class the same number in all of them, or add a classes.json, beside which 255 is ignored."
            )

    def said(self, found: MaskClasses) -> MaskClasses:
        """Add a remark if 255 is ignored."""
        count = len(self._alone) + self._beside
        if IGNORED not in found.ignored or not count:
            return found
        remark = f"The value 255 of {plural(count, 'label map')} was read as ignored pixels."
        return dataclasses.replace(found, remarks=(*found.remarks, remark))


class _Votes:
    """Whether the label maps of a dataset look like classes or like objects.

    Args:
        as_: What the user states: "classes", "objects", or "auto" to decide by the values.
        named: Classes of the dataset's class list, without the background.
    """

    def __init__(self, as_: ValuesAs, named: Sequence[ClassInfo]) -> None:
        self.numbers = 0
        """Number of values of all maps."""
        self._as = as_
        self._known = [FileClass(info.name, info.id) for info in named]
        self._votes = Counter[str]()
        self._counts = set[int]()
        self._are_numberings = True
        self._are_wide = False

    def add(self, raster: Raster, numbers: IntArray, path: Path) -> None:
        """Add a label map and its values other than 0; maps with few values are not counted."""
        self.numbers += len(numbers)
        if self._as == "auto" and not len(numbers):
            return
        options = ReadOptions(as_=self._as)
        try:
            vote = decide(raster.values, numbers, options, path, raster.palette is not None, self._known)
        except ImportChoiceError as error:
            raise without_choices(error) from error
        if vote == "objects" or len(numbers) >= _FEW_VALUES:
            self._votes[vote] += 1
        self._counts.add(len(numbers))
        self._are_numberings &= len(numbers) == int(numbers[-1]) if len(numbers) else True
        self._are_wide |= raster.values.dtype.itemsize > 1

    @property
    def for_objects(self) -> bool:
        """Whether the values are objects.

        Class maps of 8 bits are more common than object numbers. Values of 8 bits therefore count as object numbers
        only if they are 1, 2, 3 ... in each map, and the highest values differ.
        """
        if self._as != "auto":
            return self._as == "objects"
        plausible = self._are_wide or (self._are_numberings and len(self._counts) > 1)
        return self._votes["objects"] > self._votes["classes"] and plausible


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise DatasetError(f"There is no label map '{path}'; add it, or remove its image.")
    return path


def without_choices(error: ImportChoiceError) -> DatasetError:
    """Return an error without the choices of an import, which training does not have."""
    return DatasetError(str(error).partition(", or add ")[0].rstrip(".") + ".")


def _read_classes(path: Path) -> list[ClassInfo]:
    """Read a list of classes, {"classes": [...]}, or the `classes.json` of an export, with one list per image."""
    try:
        content = read_json(path)
        listed = class_list(content)
        entries = content["classes"] if isinstance(content, dict) and "classes" in content else content
        background = [
            convert(entry, ClassInfo) for entry in entries if isinstance(entry, dict) and entry["id"] == 0
        ]
    except (OSError, JsonError) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}); it must list the id, name and color (red, green, blue) of each class."
        ) from error
    return [
        *background,
        *(ClassInfo(item.number or 0, item.name, item.color or (0, 0, 0)) for item in listed),
    ]
