"""Earlier revisions of the images of a dataset, in the folder `history/`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ...errors import StorageError
from .manifest import DatasetImage


def keep_revision(folder: Path, entry: DatasetImage, files: Mapping[str, Path]) -> None:
    """Keep the files of the current revision of an image as hard links or copies.

    Args:
        folder: Folder of the image's history.
        entry: The image.
        files: Kind -> file; missing files are skipped.

    Raises:
        StorageError: If a file cannot be linked or copied.
    """
    folder = folder / str(entry.revision)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for kind, path in files.items():
            kept = folder / f"{kind}{path.suffix}"
            if path.is_file() and not kept.exists() and (kind != "instances" or entry.instances):
                _link(path, kept)
    except OSError as error:
        raise StorageError(
            f"The earlier version of '{entry.name}' could not be kept in '{folder}' ({error.strerror}); nothing "
            "was changed: free some space or check the folder."
        ) from error


def _link(path: Path, kept: Path) -> None:
    try:
        os.link(path, kept)
    except OSError:  # No hard links on this file system.
        shutil.copy2(path, kept)
