"""Lookup of files by name, and the layouts of folders with images and labels."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote

from ....errors import DatasetError

SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Name of a folder, in lower case -> split."""


class FileIndex:
    """The files of a folder, found by name.

    A name matches exactly; otherwise with different letter case or Unicode normalisation (files that were copied from a
    Mac); otherwise percent-encoded, as earlier versions of this package wrote it. Hidden files are left out.

    Args:
        folder: The folder; one that does not exist has no files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._exact: dict[str, Path] = {}
        self._similar: dict[str, list[Path]] = defaultdict(list)
        self._decoded: dict[str, list[Path]] = defaultdict(list)
        for path in visible_files(folder):
            self._exact[path.name] = path
            self._similar[_fold(path.name)].append(path)
            self._decoded[_fold(unquote(path.name))].append(path)

    def find(self, names: Iterable[str]) -> Path | None:
        """Return the first of several files that exists, or None.

        Raises:
            DatasetError: If several files match a name and none is equal to it.
        """
        for name in names:
            if name in self._exact:
                return self._exact[name]
            for table in (self._similar, self._decoded):
                matches = table.get(_fold(name), ())
                if len(matches) > 1:
                    raise DatasetError(
                        f"'{self.folder}' has the files '{matches[0].name}' and '{matches[1].name}' for '{name}'; "
                        "rename or remove one of them."
                    )
                if matches:
                    return matches[0]
        return None


def visible_files(folder: Path) -> list[Path]:
    """List the files of a folder without hidden ones (`.DS_Store`, `._a.png` ...), sorted; empty if it is missing."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def subfolders(folder: Path) -> dict[str, Path]:
    """Return the visible subfolders of a folder by their names in lower case."""
    if not folder.is_dir():
        return {}
    return {
        path.name.casefold(): path
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }


def split_folders(folder: Path) -> list[tuple[Path, str]]:
    """List the subfolders that are named after a split, with the split."""
    return [(path, SPLIT_FOLDERS[name]) for name, path in subfolders(folder).items() if name in SPLIT_FOLDERS]


def same_name(first: str, second: str) -> bool:
    """Return True if two names differ at most in letter case and Unicode normalisation."""
    return _fold(first) == _fold(second)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
