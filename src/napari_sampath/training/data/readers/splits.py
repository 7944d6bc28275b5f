"""Splits as folders name them and, for those that name none, by slide or case."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ....errors import DatasetError
from ....formats.dataset.manifest import SPLITS, VALIDATION_SHARE
from ..dataset import Sample, split_by_group

_SPELLINGS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


def read_split(name: str, file: Path) -> str:
    """Return what a split is called here, in whatever spelling a file gives it; empty if it gives none.

    Raises:
        DatasetError: If it is no split.
    """
    word = name.strip().lower()
    split = _SPELLINGS.get(word, word)
    if split and split not in SPLITS:
        raise DatasetError(f"'{file}' names the split '{name}'; allowed are {', '.join(SPLITS)}; rename it.")
    return split


def with_splits(samples: Sequence[Sample]) -> list[Sample]:
    """Let a fifth of the samples that train, whole groups, validate, if no sample validates yet.

    Raises:
        DatasetError: If some samples have a split and some have none.
    """
    if any(sample.split for sample in samples) and not all(sample.split for sample in samples):
        without = next(sample.name for sample in samples if not sample.split)
        raise DatasetError(f"There is no split for '{without}'; name one for every image, or for none.")
    undecided = [sample for sample in samples if sample.split in ("", "train")]
    if any(sample.split == "val" for sample in samples) or not undecided:
        return list(samples)
    _, aside = split_by_group(undecided, VALIDATION_SHARE, seed=0)
    # Not by name: samples of several cases may have the same.
    validating = {id(sample) for sample in aside}
    return [
        dataclasses.replace(s, split="val" if id(s) in validating else s.split or "train") for s in samples
    ]
