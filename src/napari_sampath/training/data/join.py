"""Join several datasets for training."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np

from ...errors import DatasetError
from .dataset import IGNORED, Dataset, Item, Sample

_UNKNOWN = -1
"""Label value of ignored pixels; no class has this id."""


def join_datasets(first: Dataset, others: Sequence[Dataset]) -> Dataset:
    """Add the training images of other datasets to a dataset, so that a head sees more patients and stains.

    `first` defines the classes, which are matched by name, and provides the validation and test splits.

    Raises:
        DatasetError: If another dataset has no training images, or has a class that `first` lacks.
    """
    if not others:
        return first
    samples = [
        _joined(first, sample, {info.id: info.id for info in first.classes}) for sample in first.samples
    ]
    names = {info.name: info.id for info in first.classes}
    for other in others:
        unknown = [info.name for info in other.classes if info.name not in names]
        if unknown:
            raise DatasetError(
                f"The dataset '{other.name}' has the class '{unknown[0]}', but '{first.name}' has only "
                f"{', '.join(names)}; rename the class, or train on the datasets separately."
            )
        ids = {info.id: names[info.name] for info in other.classes}
        samples += [_joined(other, sample, ids) for sample in other.split("train")]
    datasets = (first, *others)
    return Dataset(
        " + ".join(dataset.name for dataset in datasets),
        tuple(samples),
        first.classes,
        {info.id: info.id for info in first.classes},
        frozenset({_UNKNOWN}),
        licence=" AND ".join(dict.fromkeys(dataset.licence for dataset in datasets)),
        attribution="; ".join(dataset.attribution for dataset in datasets if dataset.attribution),
        note=" ".join(dataset.note for dataset in datasets if dataset.note),
        remarks=tuple(remark for dataset in datasets for remark in dataset.remarks),
    )


def _joined(dataset: Dataset, sample: Sample, ids: dict[int, int]) -> Sample:
    """Return a sample that is read by its original dataset and mapped to the class ids of the joined dataset."""
    return dataclasses.replace(
        sample,
        name=f"{dataset.name}/{sample.name}",
        group=f"{dataset.name}/{sample.group}",
        load=partial(_load, dataset=dataset, original=sample, ids=ids),
    )


def _load(_: Sample, dataset: Dataset, original: Sample, ids: dict[int, int]) -> Item:
    example = dataset.read(original)
    values = np.full(IGNORED + 1, _UNKNOWN, dtype=np.int16)
    for index, info in enumerate(dataset.classes):
        values[index] = ids[info.id]
    return Item(example.pixels, values[example.targets], example.instances, notes=example.notes)
