"""Folders with images and label files: masks with the same names, annotation files of other programs, and exports."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ....errors import DatasetError, ImageError
from ....files.messages import plural_of
from ....formats import import_labels
from ....formats.class_numbers import FileClass
from ....formats.foreign import other_name
from ....formats.format import Shapes, ValuesAs
from ....formats.maps import label_images
from ....formats.registry import find_format, readable
from ....formats.source import Source
from ....images import IMAGE_SUFFIXES, read
from ....rasters import read_size
from ..dataset import Dataset, Item, Sample
from .classes import find_classes, with_background
from .grouping import Groups, unknown_groups
from .labels_of_image import ClassTable, read_content, to_item, used_classes
from .pairing import ExportedImage, Pair, find_pairs
from .splits import with_splits


def open_plain(folder: Path, rows: Sequence[Mapping[str, str]], as_: ValuesAs = "auto") -> Dataset | None:
    """Open a folder with images and a label file for each; return None if there are none.

    See `find_pairs` for where label files are searched for, and `find_classes` for the classes of masks. `rows` is the
    content of `index.csv`, with the columns `name`, `group` and `split`; without splits, a fifth of the images, in
    whole groups, is the validation split.

    Raises:
        DatasetError: If a folder with labels has no file for an image, or `index.csv` has no column `name`.
    """
    suffixes = {suffix: None for entry in readable() for suffix in entry.suffixes}
    named = [suffix for suffix in suffixes if suffix not in ("/", ".npy", *IMAGE_SUFFIXES)]
    found = find_pairs(folder, [*named, *(f"_objects{suffix}" for suffix in named)])
    has_folders = (folder / "images").is_dir() and (folder / "labels").is_dir()
    if not found.pairs and not has_folders:
        return None
    if has_folders and not (found.pairs or found.unlabelled):
        raise DatasetError(
            f"There is no image in '{folder / 'images'}'; add files that end in {', '.join(IMAGE_SUFFIXES)}."
        )
    if found.unlabelled and found.label_folders:
        path = found.unlabelled[0]
        file = path.stem + (found.pairs[0].labels.suffix if found.pairs else ".png")
        raise DatasetError(
            f"The image '{path.stem}' has no label map in '{found.label_folders[0]}'; add '{file}', or remove "
            "the image."
        )
    groups = Groups(folder, rows)
    remarks = found.doubts
    for paths, reason in (
        (found.unlabelled, "images without a label file"),
        (found.unused, "masks without an image"),
    ):
        if paths:
            names = ", ".join(path.name for path in paths[:5])
            remarks += (f"Left out: {plural_of(len(paths), reason)} ({names}).",)
    note = "" if groups.any_group() else unknown_groups(folder)
    samples = [_sample(pair, groups) for pair in found.pairs]
    exports = {pair.image: pair.export for pair in found.pairs if pair.export is not None}
    return from_samples(folder, samples, exports, note, as_, remarks)


def from_samples(
    folder: Path,
    samples: Sequence[Sample],
    exports: Mapping[Path, ExportedImage],
    note: str,
    as_: ValuesAs = "auto",
    remarks: Sequence[str] = (),
) -> Dataset:
    """Make a dataset of images and their label files.

    Args:
        folder: The folder, whose name is that of the dataset.
        samples: The images, with their splits where these are known.
        exports: Image -> its entry in an export of this package, for images whose labels are in one.
        note: Warning about the slides or cases.
        as_: Whether the values of masks are classes or objects; "auto" decides by their values.
        remarks: Sentences about what was left out.

    Raises:
        DatasetError: If a label file is malformed, or its format is unknown.
    """
    try:
        if not exports and all(_is_label_image(sample) for sample in samples):
            return _from_masks(folder, samples, note, as_, remarks)
        table = ClassTable()
        samples = [_annotated(sample, exports.get(sample.image), table) for sample in samples]
    except ImageError as error:
        raise DatasetError(str(error)) from error
    classes = with_background(table.classes)
    values = {info.id: info.id for info in classes}
    notes = (*remarks, *dict.fromkeys(table.notes))
    return Dataset(folder.name, tuple(with_splits(samples)), classes, values, note=note, remarks=notes)


def _is_label_image(sample: Sample) -> bool:
    # PNG, TIFF and other images are three formats with one reader.
    return find_format(Source(sample.labels)).read is label_images.read


def _annotated(sample: Sample, export: ExportedImage | None, table: ClassTable) -> Sample:
    """Return a sample that reads annotations, and add their classes to the table."""
    hw = read_size(sample.image)
    if export is not None:
        # Not every format stores the numbers of the classes, so those of classes.json come first.
        classes = (*export.classes, *import_labels(export.folder, export.name, hw).classes)
        table.add([FileClass(info.name, info.id, info.color) for info in classes], sample.labels)
        return dataclasses.replace(sample, load=functools.partial(_load_export, export=export, table=table))
    source = Source(sample.labels)
    content = read_content(find_format(source), source, sample.image.name, hw)
    table.add(used_classes(content), sample.labels)
    stated = content.image if isinstance(content, Shapes) else None
    if remark := other_name(stated, sample.image.name):
        table.notes.append(f"'{sample.labels.name}': {remark}")
    return dataclasses.replace(sample, load=functools.partial(_load_annotations, table=table))


def _from_masks(
    folder: Path, samples: Sequence[Sample], note: str, as_: ValuesAs, remarks: Sequence[str]
) -> Dataset:
    found = find_classes(folder, samples, as_)
    if found.object_class is not None:
        load = functools.partial(_load_objects, class_id=found.object_class.id)
        samples = [dataclasses.replace(sample, load=load) for sample in samples]
    return Dataset(
        folder.name,
        tuple(with_splits(samples)),
        found.classes,
        {info.id: info.id for info in found.classes},
        found.ignored,
        note=note,
        remarks=(*remarks, *found.remarks),
    )


def _sample(pair: Pair, groups: Groups) -> Sample:
    name = pair.image.stem
    split = groups.split(pair.image) or pair.split
    return Sample(name, pair.image, pair.labels, groups.group(pair.image) or name, split)


def _load_objects(sample: Sample, class_id: int) -> Item:
    """Read an image and a map of object numbers; all objects have the same class."""
    image, instances = sample.read_files()
    return Item(image.pixels, np.where(instances > 0, class_id, 0).astype(np.uint8), instances)


def _load_annotations(sample: Sample, table: ClassTable) -> Item:
    pixels = read(sample.image).pixels
    source = Source(sample.labels)
    content = read_content(find_format(source), source, sample.image.name, (pixels.shape[0], pixels.shape[1]))
    return to_item(pixels, content, table.numbers, sample.image, sample.labels)


def _load_export(sample: Sample, export: ExportedImage, table: ClassTable) -> Item:
    pixels = read(sample.image).pixels
    labels = import_labels(export.folder, export.name, (pixels.shape[0], pixels.shape[1]))
    return to_item(pixels, labels, table.numbers, sample.image, sample.labels)
