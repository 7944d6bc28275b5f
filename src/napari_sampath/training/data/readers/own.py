"""Our own dataset folder, as annotating writes it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ....arrays import ClassInfo
from ....errors import DatasetError
from ....formats import DatasetFolder
from ....heads.base import check_classes
from ..dataset import Dataset, Item, Sample

REST = ClassInfo(0, "rest", (0, 0, 0))


def open_own(path: Path) -> Dataset:
    """Open a folder with a `dataset.json`; unverified pixels are ignored.

    Raises:
        DatasetError: If it holds no image, or `dataset.json` cannot be used.
    """
    folder = DatasetFolder.open(path)
    if not folder.images:
        raise DatasetError(f"The dataset '{path}' holds no image yet; save one to it.")
    samples = [
        Sample(
            name,
            folder.file("images", name),
            folder.file("labels", name),
            image.slide,
            folder.split_of(name),
            mpp=image.mpp,
            load=partial(_load, folder=folder),
        )
        for name, image in folder.images.items()
    ]
    unknown = [name for name, image in folder.images.items() if not image.group]
    note = ""
    if unknown:
        note = (
            f"The dataset {path} does not say of which slide or case {len(unknown)} of its {len(samples)} images "
            f"are ('{unknown[0]}' is one); each counts as its own, and scores may be too good."
        )
    classes = folder.classes if any(c.id == 0 for c in folder.classes) else (REST, *folder.classes)
    classes = check_classes(sorted(classes, key=lambda c: c.id))
    return Dataset(folder.name, tuple(samples), classes, {c.id: c.id for c in classes}, note=note)


def _load(sample: Sample, folder: DatasetFolder) -> Item:
    found = folder.read(sample.name)
    return Item(found.pixels, found.labels, found.instances, found.annotated)
