"""Dataset folders that the annotation tools write."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ....errors import DatasetError
from ....formats import DatasetFolder
from ..dataset import Dataset, Item, Sample
from .classes import with_background


def open_dataset_folder(path: Path) -> Dataset:
    """Open a folder with a `dataset.json`; pixels outside the verified area are ignored."""
    folder = DatasetFolder.open(path)
    if not folder.images:
        raise DatasetError(f"The dataset '{path}' contains no images yet; save an image to it.")
    load = partial(_load, folder=folder)
    samples = [
        Sample(
            name,
            folder.file("images", name),
            folder.file("labels", name),
            image.slide,
            folder.split_of(name),
            mpp=image.mpp,
            load=load,
        )
        for name, image in folder.images.items()
    ]
    ungrouped = [name for name, image in folder.images.items() if not image.group]
    note = ""
    if ungrouped:
        note = (
            f"The dataset {path} does not state the slide or case of {len(ungrouped)} of its {len(samples)} images "
            f"(such as '{ungrouped[0]}'); each counts as its own case, so scores may be too optimistic."
        )
    classes = with_background(folder.classes)
    return Dataset(folder.name, tuple(samples), classes, {info.id: info.id for info in classes}, note=note)


def _load(sample: Sample, folder: DatasetFolder) -> Item:
    stored = folder.read(sample.name)
    return Item(stored.pixels, stored.labels, stored.instances, stored.annotated)
