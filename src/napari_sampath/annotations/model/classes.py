"""Ordered list of classes with stable ids, unique names, and colours that stand out on H&E."""

from __future__ import annotations

import colorsys
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TypeAlias

from ...arrays import ClassInfo, class_key
from ...errors import ClassListError, DuplicateNameError, UnknownNameError
from ...files import check_length
from ...registry import unknown_name

MAX_CLASSES = 255
"""Maximum number of classes; ids are 1..255, so that a class map fits uint8 with 0 for "no class"."""

Color: TypeAlias = tuple[int, int, int]

PALETTE: tuple[Color, ...] = (
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (230, 159, 0),
    (86, 180, 233),
    (213, 94, 0),
    (20, 20, 20),
)
"""The palette of Okabe and Ito, which is safe for colour-blind people, without its pink, which is hard to see on
eosin. Green comes first, because nothing on an H&E slide is green."""

FIRST_CLASS = ClassInfo(1, "object", PALETTE[0])
"""Initial class of a session without classes, so that the first click can be committed."""


def next_color(used: Iterable[Color]) -> Color:
    """Return the first unused colour of the palette, which continues with generated colours."""
    used = set(used)
    return next(color for color in _colors() if color not in used)


def _colors() -> Iterator[Color]:
    yield from PALETTE
    # Hues range from orange through green to blue, because purple and pink are the colours of the stains.
    for index in itertools.count():
        hue = (25 + (index * 137.508) % 200) / 360
        value = (1.0, 0.72, 0.5)[index % 3]
        saturation = (0.95, 0.6)[index // 3 % 2]
        red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
        yield round(red * 255), round(green * 255), round(blue * 255)


class ClassList:
    """Classes in the user's order.

    A class keeps its id when it is renamed or moved, because label maps store the id.

    Args:
        classes: Initial classes.

    Attributes:
        redirect: If set, called with the new classes instead of changing the list; it must call `restore` once the
            change is recorded. If it raises, nothing has changed.

    Raises:
        ClassListError: If a name is empty, an id is outside 1..255 or there are more than 255 classes.
        DuplicateNameError: If a name or an id occurs twice.
    """

    def __init__(self, classes: Iterable[ClassInfo] = ()) -> None:
        self.redirect: Callable[[tuple[ClassInfo, ...]], object] | None = None
        self._classes: tuple[ClassInfo, ...] = ()
        self.restore(classes)

    def __iter__(self) -> Iterator[ClassInfo]:
        return iter(self._classes)

    def __len__(self) -> int:
        return len(self._classes)

    def __contains__(self, class_id: object) -> bool:
        return any(info.id == class_id for info in self._classes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ClassList) and self._classes == other._classes

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"ClassList({list(self._classes)!r})"

    @property
    def snapshot(self) -> tuple[ClassInfo, ...]:
        """The current classes."""
        return self._classes

    def by_id(self, class_id: int) -> ClassInfo:
        """Return the class with an id.

        Raises:
            UnknownNameError: If no class has this id.
        """
        for info in self._classes:
            if info.id == class_id:
                return info
        names = ", ".join(f"{info.id} ({info.name})" for info in self._classes) or "none, add a class first"
        raise UnknownNameError(f"There is no class with id {class_id}; available: {names}.")

    def by_name(self, name: str) -> ClassInfo:
        """Return the class with a name, ignoring case and surrounding spaces.

        Raises:
            UnknownNameError: If no class has this name.
        """
        info = self.find(name)
        if info is None:
            raise UnknownNameError(unknown_name("class", name.strip(), [info.name for info in self._classes]))
        return info

    def find(self, name: str) -> ClassInfo | None:
        """Return the class with a name, like `by_name`; None if there is none."""
        return next((info for info in self._classes if info.key == class_key(name)), None)

    def add(self, name: str, color: Color | None = None) -> ClassInfo:
        """Append a class.

        Args:
            name: Name of the class.
            color: (red, green, blue), 0..255; the next unused colour of the palette by default.

        Returns:
            The class with its new id.

        Raises:
            ClassListError: If the name is empty or there are 255 classes.
            DuplicateNameError: If the name is taken.
        """
        if len(self) >= MAX_CLASSES:
            raise ClassListError(
                f"There are {len(self)} classes, so '{clean_name(name)}' cannot be added; remove a class first."
            )
        ids = {info.id for info in self._classes}
        # Exported files may contain ids of removed classes, so reuse an id only if all higher ids are taken.
        new_id = max(ids, default=0) + 1
        if new_id > MAX_CLASSES:
            new_id = min(set(range(1, MAX_CLASSES + 1)) - ids)
        info = ClassInfo(
            new_id, self._free_name(name, None), color or next_color(c.color for c in self._classes)
        )
        self._change((*self._classes, info))
        return info

    def rename(self, class_id: int, name: str) -> ClassInfo:
        """Rename a class.

        Raises:
            UnknownNameError: If there is no such class.
            ClassListError: If the name is empty.
            DuplicateNameError: If another class has the name.
        """
        return self._swap(replace(self.by_id(class_id), name=self._free_name(name, class_id)))

    def recolor(self, class_id: int, color: Color) -> ClassInfo:
        """Change the colour of a class to (red, green, blue), each 0..255.

        Raises:
            UnknownNameError: If there is no such class.
            ClassListError: If the colour is invalid.
        """
        return self._swap(replace(self.by_id(class_id), color=color))

    def remove(self, class_id: int) -> ClassInfo:
        """Remove a class.

        Returns:
            The class that was removed.

        Raises:
            UnknownNameError: If there is no such class.
            ClassListError: If the list belongs to a document with objects of this class.
        """
        info = self.by_id(class_id)
        self._change(tuple(other for other in self._classes if other.id != class_id))
        return info

    def move(self, class_id: int, index: int) -> None:
        """Move a class to another position.

        Args:
            class_id: The class.
            index: Its new position, from 0.

        Raises:
            UnknownNameError: If there is no such class.
        """
        info = self.by_id(class_id)
        others = [other for other in self._classes if other.id != class_id]
        others.insert(max(0, index), info)
        self._change(tuple(others))

    def restore(self, classes: Iterable[ClassInfo]) -> None:
        """Replace all classes without calling `redirect`; used for undo and for reading files.

        Raises:
            ClassListError: As for the constructor.
            DuplicateNameError: As for the constructor.
        """
        self._classes = checked(classes)

    def _swap(self, info: ClassInfo) -> ClassInfo:
        self._change(tuple(info if other.id == info.id else other for other in self._classes))
        return info

    def _change(self, classes: tuple[ClassInfo, ...]) -> None:
        classes = checked(classes)
        if classes == self._classes:
            return
        if self.redirect is None:
            self.restore(classes)
        else:
            self.redirect(classes)

    def _free_name(self, name: str, own_id: int | None) -> str:
        cleaned = clean_name(name)
        taken = self.find(cleaned)
        if taken is not None and taken.id != own_id:
            raise DuplicateNameError(
                f"The class '{taken.name}' (id {taken.id}) already exists; choose another name."
            )
        return cleaned


def clean_name(name: str, is_new: bool = True) -> str:
    """Strip a class name and replace each run of white space in it, including line breaks, by one space.

    Args:
        name: The name.
        is_new: False for names that earlier versions stored, which may be of any length.

    Raises:
        ClassListError: If the name is empty, or new and too long.
    """
    cleaned = " ".join(name.split())
    if not cleaned:
        raise ClassListError("The class name is empty; enter at least one character.")
    if is_new:
        check_length(cleaned, "class", ClassListError)
    return cleaned


def checked(classes: Iterable[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Validate classes and return them as a tuple with cleaned names.

    Raises:
        ClassListError: If a name is empty, an id or colour is out of range, or there are more than 255 classes.
        DuplicateNameError: If a name or an id occurs twice.
    """
    result = tuple(replace(info, name=clean_name(info.name, False), color=_color(info)) for info in classes)
    if len(result) > MAX_CLASSES:
        raise ClassListError(
            f"There are {len(result)} classes, but at most {MAX_CLASSES} are allowed; merge some of them."
        )
    names: set[str] = set()
    ids: set[int] = set()
    for info in result:
        if not 1 <= info.id <= MAX_CLASSES:
            raise ClassListError(
                f"The class '{info.name}' has id {info.id}; choose an id in 1..{MAX_CLASSES}."
            )
        if info.key in names:
            raise DuplicateNameError(f"The class name '{info.name}' occurs twice; rename one of the classes.")
        if info.id in ids:
            raise DuplicateNameError(
                f"The class id {info.id} occurs twice; choose another id for '{info.name}'."
            )
        names.add(info.key)
        ids.add(info.id)
    return result


def _color(info: ClassInfo) -> Color:
    values = tuple(int(value) for value in info.color)
    if len(values) != 3 or not all(0 <= value <= 255 for value in values):
        raise ClassListError(
            f"The colour of '{info.name}' is {info.color}; give red, green and blue, each 0..255."
        )
    return values[0], values[1], values[2]
