"""Label maps as they pass to and from files, and the file names of an export."""

from __future__ import annotations

import colorsys
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

import numpy as np

from ..errors import DuplicateNameError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ..arrays import ClassInfo, UInt8Array

FORMATS = {"png": "png", "tiff": "tif"}
"""Formats of an export -> suffix of their files."""
KINDS = ("classes", "instances")
"""The two label maps of an image; last part of their files' names."""

_BLOCK = 2**22
"""Values counted in one go: `np.bincount` makes 8 bytes of each."""
_ALLOWED_IN_NAMES = " -_.~!#$&'()+,;=@[]^`{}"


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The label maps of one image."""

    class_map: UInt8Array
    """(H, W) uint8, class id of each pixel, 0 for none."""
    instance_map: npt.NDArray[np.int32]
    """(H, W) int32, number of the object each pixel belongs to, 0 for none."""
    classes: tuple[ClassInfo, ...]
    """The classes that `class_map` may hold."""


def file_name(name: str, kind: str, suffix: str) -> str:
    """Name the file of one label map: `<image>_classes.png`.

    `image_name` is the way back.
    """
    return f"{safe_name(name)}_{kind}.{suffix}"


def safe_name(name: str) -> str:
    """Write what a file system may refuse (slashes, colons ...) as in a web address (%2F).

    Two names that differ never become one. `urllib.parse.unquote` is the way back.
    """
    return "".join(
        letter
        if letter.isalnum() or letter in _ALLOWED_IN_NAMES
        else quote(letter, "", errors="surrogatepass")
        for letter in name
    )


def image_name(file: str) -> str | None:
    """Return the name of the image whose label map a file is, None if it has no such name."""
    stem, _, _ = file.rpartition(".")
    name, _, kind = stem.rpartition("_")
    return unquote(name) if kind in KINDS else None


def check_unique(classes: Sequence[ClassInfo], place: str) -> None:
    """Raise if two classes share an id or a name.

    Args:
        classes: The classes.
        place: Where they come from, to begin the sentence with.

    Raises:
        DuplicateNameError: Naming the first id or name that is there twice.
    """
    for what, values in (("id", [info.id for info in classes]), ("name", [info.name for info in classes])):
        for value, count in Counter(values).items():
            if count > 1:
                raise DuplicateNameError(
                    f"{place} has {count} classes with the {what} '{value}'; give each class its own."
                )


def default_color(class_id: int) -> tuple[int, int, int]:
    """Choose a colour for a class that comes without one; neighbours in number are far apart in hue."""
    hue = (class_id * 0.618034) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def used_ids(class_map: UInt8Array) -> list[int]:
    """List the values other than 0 of (H, W) uint8, ascending."""
    counts = np.zeros(256, dtype=np.int64)
    rows = max(1, _BLOCK // max(1, class_map.shape[1]))
    for top in range(0, len(class_map), rows):
        counts += np.bincount(class_map[top : top + rows].ravel(), minlength=256)
    return [int(number) for number in np.flatnonzero(counts) if number]
