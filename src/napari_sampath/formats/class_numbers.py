"""The table of class numbers: a class keeps its number wherever possible, and every change is reported.

One rule for the classes of a file, of the files of a folder, of an export beside earlier exports, and of an import into
an image:

1. A class whose name is in the table gets its number from the table. Letter case, the amount of white space, and
   whether Unicode stores an accent as a character of its own are ignored.
2. Any other class keeps its own number if that is from 1 to 255 and no other class has it. The number of a class that
   has only a number as its name, such as "3", is that number.
3. Otherwise it gets the lowest free number.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..arrays import ClassInfo, class_key
from ..errors import ClassListError, refuse
from .labels import default_color

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

MAX_CLASSES = 255
_LISTED = 5


@dataclass(frozen=True, slots=True)
class FileClass:
    """A class that a file lists."""

    name: str
    number: int | None = None
    """Its number in the file, any integer; None if the file has no numbers."""
    color: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Numbered:
    """Classes with their numbers in a table."""

    classes: tuple[ClassInfo, ...]
    """The table with the new classes at its end."""
    numbers: tuple[int, ...]
    """Number of each given class in the table."""
    notes: tuple[str, ...]
    """A sentence for each class whose number differs from its own."""


def add_to_table(table: Iterable[ClassInfo], given: Sequence[FileClass], where: str = "the file") -> Numbered:
    """Give each class a number in a table.

    Args:
        table: Classes that have numbers already.
        given: Classes with the numbers that they have elsewhere; classes of the same name become one.
        where: Where `given` comes from, for the notes.

    Raises:
        ClassListError: If there are more than 255 classes.
    """
    table = tuple(table)
    spellings = {unicodedata.normalize("NFC", info.name): info.name for info in table}
    names = [spellings.setdefault(unicodedata.normalize("NFC", item.name), item.name) for item in given]
    given = [replace(item, name=name) for item, name in zip(given, names, strict=True)]
    classes = {info.key: info for info in table}
    used = {info.id for info in classes.values()}
    new = {class_key(item.name): item for item in reversed(given) if class_key(item.name) not in classes}
    new = {key: new[key] for item in given if (key := class_key(item.name)) in new}
    if len(classes) + len(new) > MAX_CLASSES:
        raise ClassListError(
            f"There are {len(classes) + len(new)} classes, but at most {MAX_CLASSES} are allowed; merge some of them."
        )
    numbers: dict[str, int] = {}
    for key, item in new.items():  # Kept numbers first, so that no other class takes them.
        number = _number_in(item.name) if item.number is None else item.number
        if number is not None and 1 <= number <= MAX_CLASSES and number not in used:
            numbers[key] = number
            used.add(number)
    free = (number for number in range(1, MAX_CLASSES + 1) if number not in used)
    for key, item in new.items():
        number = numbers[key] if key in numbers else next(free)
        name = " ".join(item.name.split()) or f"class {number}"
        classes[key] = ClassInfo(number, name, item.color or default_color(number))
    result = tuple(classes[class_key(item.name)].id for item in given)
    return Numbered(tuple(classes.values()), result, _notes(given, result, where))


def agree(table: Iterable[ClassInfo], classes: Sequence[ClassInfo], where: str = "the file") -> Numbered:
    """Give classes their numbers in a table; see `add_to_table`. Colours of the table are kept."""
    return add_to_table(table, [FileClass(info.name, info.id, info.color) for info in classes], where)


def merge_names(
    file: Path,
    stored: Mapping[int, str],
    classes: Iterable[ClassInfo],
    others: Mapping[str, Sequence[ClassInfo]],
    stems: Iterable[str],
) -> dict[int, str]:
    """Return the class names by number for a list of classes that all images of a folder share.

    A renamed class replaces its earlier name, unless other images may still have it.

    Args:
        file: The list, for error messages.
        stored: The names in the list.
        classes: The classes of the exported image.
        others: See `Export.others`.
        stems: Start of the names of the files that use the list, other than those of the exported image.

    Raises:
        ImageError: If a number has another name, and files that use it are not from an export to this folder.
    """
    names = {info.id: info.name for infos in others.values() for info in infos if info.id}
    unknown = sorted(set(stems) - set(others))
    numbers = {class_key(name): number for number, name in stored.items()}
    for info in classes:
        before = stored.get(info.id, info.name)
        if unknown and (class_key(before) != info.key or numbers.get(info.key, info.id) != info.id):
            known = (
                before
                if class_key(before) != info.key
                else f"{info.name}' with the number '{numbers[info.key]}"
            )
            refuse(
                file,
                f"has the class '{known}', but here the number {info.id} is that of '{info.name}', and "
                f"'{unknown[0]}' is not from an export to this folder",
                "export to another folder",
            )
        names[info.id] = info.name
    keys = {class_key(name) for name in names.values()}
    kept = {
        number: name for number, name in stored.items() if number not in names and class_key(name) not in keys
    }
    return kept | names


def _number_in(name: str) -> int | None:
    """Return the number of a class that is named by its number, such as "3"; None for other names."""
    is_number = name.isascii() and name.isdecimal() and len(name) <= len(str(MAX_CLASSES))
    return int(name) if is_number else None


def _notes(given: Sequence[FileClass], numbers: Sequence[int], where: str) -> tuple[str, ...]:
    changed = [
        f"'{item.name}' ({item.number} -> {number})"
        for item, number in zip(given, numbers, strict=True)
        if item.number is not None and item.number != number
    ]
    if not changed:
        return ()
    listed = ", ".join(changed[:_LISTED]) + (
        f" and {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
    )
    noun = "class has" if len(changed) == 1 else "classes have"
    return (f"{len(changed)} {noun} another number than in {where}: {listed}.",)
