"""Location of the image files of a project: used in place, or copied into the project."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

from ...arrays import UInt8Array
from ...errors import DatasetError, StorageError
from ...files import file_stem, write_atomically

COPIES = "sources"
"""Folder of images that were copied into the project."""
REMOVED = "removed"
"""Folder of copies of images that were removed from the project."""


def place(
    project: Path, name: str, file: Path | None, copy: bool = False, pixels: UInt8Array | None = None
) -> tuple[str, str]:
    """Copy an image into a project if wanted.

    Args:
        project: Folder of the project.
        name: Name of the image, from which the name of a copy is made.
        file: The image file.
        copy: Copy the file, instead of using it in place.
        pixels: (H, W, 3) uint8, saved as PNG if there is no file.

    Returns:
        `ProjectImage.file` and `ProjectImage.relative`.

    Raises:
        StorageError: If the copy cannot be written.
    """
    if file is not None and not copy:
        file = Path(os.path.abspath(file.expanduser()))
        if file.is_relative_to(project):
            return file.relative_to(project).as_posix(), ""
        return str(file), _relative(file, project)
    target = unused(project / COPIES / f"{file_stem(name)}{'.png' if file is None else file.suffix}")
    if file is None:
        _save_png(target, pixels)
    elif file.is_dir():
        _copy_folder(file, target)
    else:
        source = file
        write_atomically(target, lambda stream: _copy(source, stream))
    return target.relative_to(project).as_posix(), ""


def unused(path: Path) -> Path:
    """Return a path that does not exist, by appending a number to the name if necessary."""
    number = 2
    candidate = path
    while candidate.exists():
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1
    return candidate


def set_aside(project: Path, file: str) -> None:
    """Move the copy of an image that was removed from the project to `removed/`; keep files that are used in place."""
    copy = project / file
    if not file.startswith(f"{COPIES}/") or not copy.exists():
        return
    target = project / REMOVED / copy.name
    try:
        target.parent.mkdir(exist_ok=True)
        os.replace(copy, unused(target))
    except OSError as error:
        raise StorageError(
            f"The image was removed, but its copy '{copy}' could not be moved to '{target.parent}' "
            f"({error.strerror}); move it yourself."
        ) from error


def _relative(file: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # Another drive on Windows.
        return ""


def _save_png(target: Path, pixels: UInt8Array | None) -> None:
    from PIL import Image

    if pixels is None:
        raise DatasetError(f"'{target.stem}' has no file; save it as an image first.")
    image = Image.fromarray(pixels)
    write_atomically(target, lambda stream: image.save(stream, format="PNG"))


def _copy(source: Path, stream: BinaryIO) -> None:
    with source.open("rb") as content:
        shutil.copyfileobj(content, stream)


def _copy_folder(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target)
    except OSError as error:
        shutil.rmtree(target, ignore_errors=True)
        raise StorageError(
            f"'{source}' could not be copied to '{target}' ({error.strerror or error}); free some space, or use the "
            "image in place."
        ) from error
