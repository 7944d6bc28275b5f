"""Names and files of the images of a dataset; on Windows and macOS, names must differ in more than letter case."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ...errors import DatasetError
from ...files import check_length, file_stem, free_name, name_key
from .manifest import DatasetImage

KINDS = ("images", "labels", "instances", "annotated", "provenance")
"""Folders of a dataset, each with one file for an image."""


def similar_names(name: str, names: Iterable[str]) -> list[str]:
    """List the names that equal a name or differ only in capitals or a number, such as "tile" and "Tile (2)"."""
    pattern = re.compile(re.escape(name_key(name)) + r"( \(\d+\))?")
    return [other for other in names if pattern.fullmatch(name_key(other))]


def check_name(name: str, names: Iterable[str]) -> None:
    """Raise a `DatasetError` if a name is empty or too long, or differs from another one only in capitals."""
    check_length(name, "image", DatasetError)
    if not name.strip():
        raise DatasetError("The image has no name; give it one.")
    similar = [other for other in names if other != name and name_key(other) == name_key(name)]
    if similar:
        raise DatasetError(
            f"'{name}' differs from '{similar[0]}' in the dataset only in capitals; rename the image."
        )


def path_of(folder: Path, kind: str, stem: str) -> Path:
    """Return the path of a file of an image."""
    return folder / kind / f"{stem}.{'json' if kind == 'provenance' else 'png'}"


def free_stem(folder: Path, images: Iterable[DatasetImage], name: str) -> str:
    """Return a stem for the files of a new image that no other image and no file in the folders has."""
    taken = [image.stem for image in images]
    while True:
        stem = free_name(file_stem(name), taken)
        paths = [folder / "history" / stem, *(path_of(folder, kind, stem) for kind in KINDS)]
        if not any(path.exists() for path in paths):
            return stem
        taken.append(stem)


def has_content(path: Path, content: bytes) -> bool:
    """Return True if a file has this content."""
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def write_bytes(stream: Any, content: bytes) -> None:
    """Write a file for `write_together`."""
    stream.write(content)
