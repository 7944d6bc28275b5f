"""Split names, and the assignment of slides or cases to splits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ....errors import DatasetError
from ....formats.dataset.manifest import SPLITS, VALIDATION_SHARE
from ..dataset import Sample, split_by_group

_SPELLINGS = {"training": "train", "validation": "val", "valid": "val", "testing": "test"}


def read_split(name: str, file: Path) -> str:
    """Normalise the name of a split, which may be empty; an unknown name raises a `DatasetError`."""
    word = name.strip().lower()
    split = _SPELLINGS.get(word, word)
    if split and split not in SPLITS:
        raise DatasetError(
            f"'{file}' names the split '{name}', which is not one of {', '.join(SPLITS)}; rename it."
        )
    return split


def with_splits(samples: Sequence[Sample]) -> list[Sample]:
    """Move a fifth of the training samples, in whole groups, to the validation split if it is empty.

    If no sample has a split, all are training samples. Raises a `DatasetError` if only some samples have a split.
    """
    if any(sample.split for sample in samples) and not all(sample.split for sample in samples):
        name = next(sample.name for sample in samples if not sample.split)
        raise DatasetError(f"The image '{name}' has no split; state the split of every image, or of none.")
    undecided = [sample for sample in samples if sample.split in ("", "train")]
    if any(sample.split == "val" for sample in samples) or not undecided:
        return list(samples)
    _, validation = split_by_group(undecided, VALIDATION_SHARE, seed=0)
    # Compare by identity, because samples of different cases may have the same name.
    moved = {id(sample) for sample in validation}
    return [dataclasses.replace(s, split="val" if id(s) in moved else s.split or "train") for s in samples]
