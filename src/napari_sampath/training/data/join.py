"""Several datasets as one, to train on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import numpy as np

from ...errors import DatasetError
from .dataset import IGNORED, Dataset, Item, Sample

_UNKNOWN = -1
"""In label maps: an unverified pixel; no class has this number."""


def join_datasets(first: Dataset, others: Sequence[Dataset]) -> Dataset:
    """Add the training images of other datasets; images of other patients and stains make a head surer of its tissue.

    Args:
        first: Says what is learnt, and what validates and tests.
        others: Only their training images are used. Their classes are those of `first` that have the same names.

    Returns:
        `first` itself if there are no others.

    Raises:
        DatasetError: If one has no training image, or a class that `first` has not.
    """
    if not others:
        return first
    samples = [_of(first, sample, {c.id: c.id for c in first.classes}) for sample in first.samples]
    names = {c.name: c.id for c in first.classes}
    for other in others:
        unknown = [c.name for c in other.classes if c.name not in names]
        if unknown:
            raise DatasetError(
                f"The dataset '{other.name}' has the class '{unknown[0]}', and '{first.name}' only "
                f"{', '.join(names)}; rename it, or train on them apart."
            )
        ids = {c.id: names[c.name] for c in other.classes}
        samples += [_of(other, sample, ids) for sample in other.split("train")]
    every = (first, *others)
    return Dataset(
        " + ".join(one.name for one in every),
        tuple(samples),
        first.classes,
        {c.id: c.id for c in first.classes},
        frozenset({_UNKNOWN}),
        licence=" AND ".join(dict.fromkeys(one.licence for one in every)),
        attribution="; ".join(one.attribution for one in every if one.attribution),
        note=" ".join(one.note for one in every if one.note),
    )


def _of(dataset: Dataset, sample: Sample, ids: dict[int, int]) -> Sample:
    """Return a sample of the joined set, named after its own, that reads its files as its own set does."""
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
    return Item(example.pixels, values[example.targets], example.instances)
