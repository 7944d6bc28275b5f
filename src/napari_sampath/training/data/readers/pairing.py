"""Images and their label files: masks with the same names, masks beside the images, annotation files, and exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ....arrays import ClassInfo
from ....errors import DatasetError, ImageError
from ....formats import manifest
from ....images import list_images
from .file_index import FileIndex, same_name, split_folders, subfolders, visible_files
from .grouping import CHANNEL

MASK_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".npy", ".jpg", ".jpeg")
MASK_ENDINGS = (
    *("_classes", "_masks", "_mask", "_cp_masks", "_labels", "_label", "_instances", "_gt"),
    *("_segmentation", "_seg"),
)
"""Suffixes that mask names add to the image name; Cellpose writes `_masks` or `_cp_masks`."""
_IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages", "imagestr")
_LABEL_FOLDERS = ("labels", "label", "masks", "mask", "annotations", "segmentationclass", "labelstr")


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """An image in the `classes.json` of an export."""

    folder: Path
    """Folder of the export."""
    name: str
    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and the file with its labels."""

    image: Path
    labels: Path
    split: str = ""
    """Split that the folder is named after; empty if there is none."""
    export: ExportedImage | None = None
    """The labels in an export of this package; None for other files."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """The images of a folder, with and without labels."""

    pairs: tuple[Pair, ...]
    unlabelled: tuple[Path, ...]
    label_folders: tuple[Path, ...]
    """Folders in which labels were searched for, apart from those of the images."""
    doubts: tuple[str, ...] = ()
    """See `ImageListing.doubt`."""
    unused: tuple[Path, ...] = ()
    """Masks in `label_folders` that belong to no image."""


class _LabelFolder:
    """A folder with label files; in an export of this package, `classes.json` assigns them to images."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = FileIndex(folder)
        self._entries: dict[str, manifest.Entry] = {}
        if (folder / manifest.MANIFEST).is_file():
            try:
                self._entries = manifest.load(folder / manifest.MANIFEST)
            except ImageError:  # It is another kind of file, such as a list of classes.
                self._entries = {}

    def masks(self) -> list[Path]:
        """List the masks, unless the folder is an export."""
        if self._entries:
            return []
        return [path for path in visible_files(self.folder) if path.suffix.lower() in MASK_SUFFIXES]

    def find(self, image: Path, names: Sequence[str], split: str) -> Pair | None:
        """Find the labels of an image: those of an export, or the first of several files."""
        for name, entry in self._entries.items():
            if same_name(name, image.stem) or same_name(name, image.name):
                files = [file for kind in entry.files.values() for file in kind]
                if files:
                    exported = ExportedImage(self.folder, name, entry.classes)
                    return Pair(image, self.folder / files[0], split, exported)
        path = self.index.find(names)
        return None if path is None else Pair(image, path, split)


def find_pairs(folder: Path, suffixes: Sequence[str]) -> Pairs:
    """Find the images of a folder and their labels.

    The labels of `images/a.png` are in `labels/`, `masks/` or `annotations/`, or beside the image. The folder may also
    contain one such folder for each split (`train/`, `valid/`, `test/`), above or below `images/`.

    Args:
        folder: The folder.
        suffixes: Suffixes of annotation files, such as ".json"; masks are always searched for.

    Raises:
        DatasetError: If two files match an image equally well, an image has labels in two folders, or two images have
            the same label file.
    """
    pairs: list[Pair] = []
    unlabelled: list[Path] = []
    label_folders: list[_LabelFolder] = []
    doubts: list[str] = []
    for images, places, split in _places(folder):
        searched = [_LabelFolder(place) for place in places]
        beside = _LabelFolder(images)
        label_folders += searched
        listing = list_images(images)
        doubts += [listing.doubt] if listing.doubt else []
        for path in listing.paths:
            pair = _find(path, split, searched, beside, suffixes)
            if pair is None:
                unlabelled.append(path)
            else:
                pairs.append(pair)
    check_distinct(pairs)
    folders = {place.folder: place for place in label_folders}
    stems = {stem for path in (*unlabelled, *(pair.image for pair in pairs)) for stem in _stems(path)}
    unused = [file for place in folders.values() for file in place.masks() if not _mask_stems(file) & stems]
    return Pairs(tuple(pairs), tuple(unlabelled), tuple(folders), tuple(doubts), tuple(unused))


def _stems(image: Path) -> list[str]:
    return [image.stem, image.name, image.stem.removesuffix(CHANNEL)]


def _mask_stems(mask: Path) -> set[str]:
    """Return the names of images to which a mask may belong."""
    return {mask.stem, *(mask.stem.removesuffix(end) for end in MASK_ENDINGS)}


def check_distinct(pairs: Sequence[Pair]) -> None:
    """Raise a `DatasetError` if two images have the same label file."""
    images: dict[Path, Path] = {}
    for pair in pairs:
        other = images.setdefault(pair.labels, pair.image)
        if other != pair.image:
            raise DatasetError(
                f"'{other}' and '{pair.image}' have the same label file '{pair.labels}'; rename or remove one of them."
            )


def _places(folder: Path) -> Iterator[tuple[Path, list[Path], str]]:
    """Yield folders with images, the folders in which to search for their labels, and the split."""
    for base, split in ((folder, ""), *split_folders(folder)):
        folders = subfolders(base)
        labels = [folders[name] for name in _LABEL_FOLDERS if name in folders]
        images = next((folders[name] for name in _IMAGE_FOLDERS if name in folders), None)
        if images is None:
            yield base, labels, split
            continue
        yield images, labels, split
        for part, part_split in split_folders(images):
            yield part, [subfolders(place).get(part.name.casefold(), place) for place in labels], part_split


def _find(
    image: Path,
    split: str,
    searched: Sequence[_LabelFolder],
    beside: _LabelFolder,
    suffixes: Sequence[str],
) -> Pair | None:
    stems = _stems(image)
    same = [f"{stem}{suffix}" for stem in stems for suffix in MASK_SUFFIXES]
    masks = [f"{stem}{end}{suffix}" for stem in stems for end in MASK_ENDINGS for suffix in MASK_SUFFIXES]
    others = [f"{stem}{suffix}" for stem in stems for suffix in suffixes]
    pairs = [place.find(image, [*same, *masks, *others], split) for place in searched]
    found = [pair for pair in pairs if pair is not None]
    if len(found) > 1:
        raise DatasetError(
            f"'{image}' has labels in '{found[0].labels}' and in '{found[1].labels}'; keep one of the folders, or move "
            "the other away."
        )
    if found:
        return found[0]
    return beside.find(image, [*masks, *others], split)
