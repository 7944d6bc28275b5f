"""Names of the images of a dataset; file names on Windows and macOS must differ in more than capitals."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from ...errors import DatasetError


def similar_names(name: str, names: Iterable[str]) -> list[str]:
    """List the names that equal a name or differ only in capitals or a number, such as "tile" and "Tile (2)"."""
    pattern = re.compile(re.escape(name.casefold()) + r"( \(\d+\))?")
    return [other for other in names if pattern.fullmatch(other.casefold())]


def free_name(name: str, names: Iterable[str]) -> str:
    """Make a name unique by appending a number if it is taken, such as "tile (2)"."""
    taken = {other.casefold() for other in names}
    candidates = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if candidate.casefold() not in taken)


def check_name(name: str, names: Iterable[str]) -> None:
    """Raise a `DatasetError` if a name is empty or differs from another one only in capitals."""
    if not name.strip():
        raise DatasetError("The image has no name; give it one.")
    similar = [other for other in names if other != name and other.casefold() == name.casefold()]
    if similar:
        raise DatasetError(
            f"'{name}' differs from '{similar[0]}' in the dataset only in capitals; rename the image."
        )
