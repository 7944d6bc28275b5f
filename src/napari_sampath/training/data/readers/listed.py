"""Datasets whose annotation files list several images: COCO, and other formats with such files.

`formats/` parses the files; the same readers import the objects of single images.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from ....arrays import class_key
from ....errors import DatasetError, ImageError
from ....files.messages import plural_of
from ....formats import Labels
from ....formats.class_numbers import FileClass
from ....formats.format import Format, ImageEntry, Shapes
from ....formats.outlines.coco import CocoFile
from ....formats.registry import find_format
from ....formats.source import Source
from ....images import IMAGE_SUFFIXES, read
from ....rasters import read_size
from ..dataset import Dataset, Item, Sample
from .classes import with_background
from .file_index import SPLIT_FOLDERS, split_folders, subfolders, visible_files
from .grouping import Groups, unknown_groups
from .image_finder import ImageFinder
from .labels_of_image import ClassTable, read_content, to_item, used_classes
from .splits import with_splits

_SUFFIXES = (".json", ".xml", ".gz", ".zip")
_LISTED = 5
_GROUP_KEYS = ("group", "slide", "case", "patient")


class _File:
    """An annotation file that lists images.

    Args:
        source: The file.
        format_: Its format.
        split: Split that its name states; empty if there is none.
    """

    def __init__(self, source: Source, format_: Format, split: str) -> None:
        self.source, self.format, self.split = source, format_, split

    @property
    def path(self) -> Path:
        return self.source.path

    def images(self) -> Sequence[ImageEntry]:
        return self.format.images(self.source) if self.format.images is not None else ()

    def content(self, index: int, hw: tuple[int, int]) -> Shapes | Labels:
        """Read the annotations of one image of size (H, W)."""
        if self.format.name == "coco":
            return CocoFile.of(self.source).read(index)
        return read_content(self.format, self.source, self.images()[index].name, hw)


def open_listed(
    path: Path, rows: Sequence[Mapping[str, str]] = (), problems: list[str] | None = None
) -> Dataset | None:
    """Open a file that lists images and their objects, or a folder with such files; return None if it contains none.

    A folder contains one file, or one for each split: in the folder, in `annotations/`, or in the folders of the
    splits. Smaller objects are drawn over larger ones unless the file states an order. The pixels of crowds, and of
    objects with a box but no outline, are ignored in training and evaluation. Classes without an object are left out.
    `index.csv` or the key "group", "slide", "case" or "patient" of an image states its case.

    Args:
        path: The file or folder.
        rows: Rows of `index.csv`, with the columns `name`, `group` and `split`.
        problems: A list to which the reasons for not reading files are appended.

    Raises:
        DatasetError: If a file is malformed, an image is missing, or an object has an unlisted category.
    """
    try:
        files = (
            [_open_file(path)] if path.is_file() else _find(path, problems if problems is not None else [])
        )
        return _dataset(path, files, Groups(path, rows)) if files else None
    except ImageError as error:
        raise DatasetError(str(error)) from error


def _open_file(path: Path) -> _File:
    source = Source(path)
    format_ = find_format(source)
    if format_.images is None:
        raise DatasetError(
            f"'{path}' is a {format_.label} file, which lists no images, and not a COCO file; give the folder that "
            "contains the images and their label files."
        )
    return _File(source, format_, "")


def _find(folder: Path, problems: list[str]) -> list[_File]:
    """Find the files of a folder; the first place that contains any is used."""
    inside = subfolders(folder)
    for places in (
        [folder],
        [inside[name] for name in ("annotations", "labels") if name in inside],
        [
            part
            for path, _ in split_folders(folder)
            for part in (path, *subfolders(path).values())
            if path.is_dir()
        ],
    ):
        files = [file for place in places for file in _files_in(place, problems)]
        if len(files) == 1:
            files[0].split = ""
        if files:
            return files
    return []


def _files_in(place: Path, problems: list[str]) -> list[_File]:
    files = visible_files(place)
    stems = {path.stem for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    stems |= {path.stem for path in visible_files(place.parent / "images")}
    found = []
    for path in files:
        # A file with the name of an image has the labels of this image.
        if path.suffix.lower() not in _SUFFIXES or path.stem in stems or path.name == "classes.json":
            continue
        try:
            source = Source(path)
            format_ = find_format(source)
        except ImageError as error:
            problems.append(str(error))
            continue
        if format_.images is not None:
            found.append(_File(source, format_, _split_of(path)))
    # COCO has further files with keypoints and captions of the same images.
    instances = [file for file in found if file.path.name.startswith("instances_")]
    return instances or found


def _split_of(path: Path) -> str:
    """Return the split that a file name states, or else that of its folder; empty if there is none."""
    for name in (path.stem, path.parent.name, path.parent.parent.name):
        for word in re.findall("[a-z]+", name.lower()):
            if word in SPLIT_FOLDERS:
                return SPLIT_FOLDERS[word]
    return ""


def _dataset(path: Path, files: Sequence[_File], groups: Groups) -> Dataset:
    table, skipped = ClassTable(), Counter[str]()
    samples: list[Sample] = []
    all_grouped = True
    for file in files:
        used: dict[str, FileClass] = {}
        finder = ImageFinder(file.path, file.split)
        for index, entry in enumerate(file.images()):
            image = finder.find(entry.name)
            content = file.content(index, entry.hw or read_size(image))
            used |= {class_key(item.name): item for item in used_classes(content) if item.name not in used}
            load = functools.partial(_load, file=file, index=index, table=table)
            stated = (str(entry.extra[key]) for key in _GROUP_KEYS if entry.extra.get(key))
            group = groups.group(image) or next(stated, "")
            all_grouped = all_grouped and bool(group)
            name = Path(entry.name).stem
            split = groups.split(image) or file.split
            samples.append(Sample(name, image, file.path, group or entry.name, split, load=load))
        table.add(list(used.values()), file.path)
        skipped += _left_out(file, used)
    if not samples:
        raise DatasetError(f"'{files[0].path}' lists no images; export it again.")
    _check_once(samples)
    classes = with_background(table.classes)
    remarks = (
        *table.notes,
        *(f"Left out: {plural_of(number, reason)}." for reason, number in skipped.items()),
    )
    values = {info.id: info.id for info in classes}
    note = "" if all_grouped else unknown_groups(path)
    return Dataset(path.stem, tuple(with_splits(samples)), classes, values, note=note, remarks=remarks)


def _left_out(file: _File, used: Mapping[str, FileClass]) -> Counter[str]:
    """Count the annotations that belong to no image, and the classes without an object."""
    if file.format.name != "coco":
        return Counter()
    coco = CocoFile.of(file.source)
    counts = Counter({f"annotations of images that '{file.path.name}' does not list": coco.orphans})
    unused = [item.name for item in coco.classes if class_key(item.name) not in used]
    listed = ", ".join(unused[:_LISTED]) + (" ..." if len(unused) > _LISTED else "")
    noun = "class" if len(unused) == 1 else "classes"
    counts[f"{noun} without an object in '{file.path.name}' ({listed})"] = len(unused)
    return +counts


def _check_once(samples: Sequence[Sample]) -> None:
    """Raise a `DatasetError` if two files of one split list the same image."""
    files: dict[tuple[Path, str], Path] = {}
    for sample in samples:
        other = files.setdefault((sample.image, sample.split), sample.labels)
        if other != sample.labels:
            raise DatasetError(
                f"The image '{sample.image}' is listed in '{other}' and in '{sample.labels}'; remove one of the files."
            )


def _load(sample: Sample, file: _File, index: int, table: ClassTable) -> Item:
    pixels = read(sample.image).pixels
    content = file.content(index, (pixels.shape[0], pixels.shape[1]))
    return to_item(pixels, content, table.numbers, sample.image, sample.labels)
