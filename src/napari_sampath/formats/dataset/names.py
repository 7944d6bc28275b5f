"""Names of the images of a dataset: those of two images differ, on the disks of Windows and macOS, too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from ...errors import DatasetError


def alike(name: str, names: Iterable[str]) -> list[str]:
    """List the names under which an image of a name may be kept: "tile" or "tile (2)"; capitals don't matter."""
    own = re.compile(re.escape(name.casefold()) + r"( \(\d+\))?")
    return [one for one in names if own.fullmatch(one.casefold())]


def free_name(name: str, names: Iterable[str]) -> str:
    """Return a name, with the first number that makes it differ from all others: "tile (2)"."""
    taken = {one.casefold() for one in names}
    wished = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
    return next(one for one in wished if one.casefold() not in taken)


def check_name(name: str, names: Iterable[str]) -> None:
    """Raise a `DatasetError` if an image cannot have a name beside others."""
    if not name.strip():
        raise DatasetError("The image has no name; give it one.")
    near = [one for one in names if one != name and one.casefold() == name.casefold()]
    if near:  # One file on the disks of Windows and macOS.
        raise DatasetError(
            f"The dataset holds '{near[0]}', which many disks do not tell from '{name}'; rename it."
        )
