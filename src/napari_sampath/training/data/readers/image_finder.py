"""Search for the image files that an annotation file lists."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ....errors import DatasetError
from .file_index import FileIndex, subfolders

_PREFIXES = ("instances_", "annotations_", "_annotations", "person_keypoints_", "labels_")
_FOLDERS = ("images", "image", "data", "imgs")


class ImageFinder:
    """Finds the images of an annotation file.

    Images are searched for beside the file, in `images/` or `data/`, in the folder of the split (`train2017/` for
    `instances_train2017.json`), and in the same places one level up. Folders that are part of a listed name may be
    missing, as in a path of another machine.

    Args:
        file: The annotation file.
        split: Split of the file; empty if it has none.
    """

    def __init__(self, file: Path, split: str) -> None:
        self._file = file
        self._roots = list(dict.fromkeys(_roots(file, split)))
        self._indexes: dict[Path, FileIndex] = {}
        self._names: dict[Path, str] = {}

    def find(self, name: str) -> Path:
        """Return the path of an image.

        Args:
            name: Its name as listed: a file name, a path of any system, or an address.

        Raises:
            DatasetError: If it is missing, or was already found for another name.
        """
        path = self._search(name)
        if path is None:
            raise DatasetError(
                f"The image '{name}' listed in '{self._file}' is missing; copy it next to that file."
            )
        other = self._names.setdefault(path, name)
        if other != name:
            raise DatasetError(
                f"'{self._file}' lists '{other}' and '{name}', but both were found at '{path}'; keep the folders of "
                "the images, or remove one of them from the file."
            )
        return path

    def _search(self, name: str) -> Path | None:
        if Path(name).is_absolute() and Path(name).is_file():
            return Path(name)
        listed = PurePosixPath(name.replace("\\", "/").partition("?")[0])
        parts = [part for part in listed.parts if part not in ("/", "..")]
        # Try the whole path first, then without its first folders.
        for start in range(len(parts)):
            for root in self._roots:
                path = self._index(root.joinpath(*parts[start:-1])).find([parts[-1]])
                if path is not None:
                    return path
        return None

    def _index(self, folder: Path) -> FileIndex:
        if folder not in self._indexes:
            self._indexes[folder] = FileIndex(folder)
        return self._indexes[folder]


def _roots(file: Path, split: str) -> Iterator[Path]:
    subset = file.stem
    for prefix in _PREFIXES:
        subset = subset.removeprefix(prefix)
    for parent in (file.parent, file.parent.parent):
        folders = subfolders(parent)
        images = [folders[name] for name in _FOLDERS if name in folders]
        yield parent
        yield from images
        for place in (parent, *images):
            inside = subfolders(place)
            yield from (inside[name] for name in (subset.casefold(), split, "default") if name in inside)
