"""Open a dataset folder with the reader for its layout."""

from __future__ import annotations

import csv
import dataclasses
import logging
import os
from collections import Counter
from pathlib import Path

from ....errors import DatasetError
from ....formats import DatasetFolder
from ..dataset import Dataset, Sample
from .coco import open_coco
from .dataset_folder import open_dataset_folder
from .pairs import open_pairs
from .plain import open_plain
from .published_sets.acdc import open_acdc
from .published_sets.indexed import open_published
from .published_sets.layouts import open_bcss, open_crag, open_ebhi, open_glas
from .published_sets.monuseg import open_monuseg
from .published_sets.typed_nuclei import open_typed_nuclei
from .splits import read_split

logger = logging.getLogger(__name__)

_LAYOUTS = (open_bcss, open_crag, open_glas, open_ebhi, open_acdc, open_monuseg, open_typed_nuclei, open_coco)
"""Readers that are tried in this order; each returns None if the folder has another layout."""


def open_dataset(path: str | Path, images: str = "", labels: str = "", group: str = "") -> Dataset:
    """Open a folder as a dataset.

    The supported layouts are folders written by this package (`dataset.json`); the datasets in `PUBLISHED`
    (`index.csv`, `images/`, `masks/`); BCSS, CRAG, GlaS, EBHI-Seg, ACDC and MoNuSeg as distributed; COCO files; images
    with maps of nuclear types (`open_typed_nuclei`); folders with `images/` and `labels/` whose files have the same
    names (`open_plain`); and files matched by two patterns (`open_pairs`).

    Args:
        path: The folder, or a COCO file.
        images: Pattern of the image paths, such as "*/img_*.png".
        labels: Pattern of the label map paths, with the same wildcards.
        group: Regular expression that matches the slide or case in an image path.

    Raises:
        DatasetError: If the folder is missing, has an unknown layout, or lacks files.
    """
    path = Path(path).expanduser()
    if not path.exists() or (path.is_file() and path.suffix.lower() != ".json"):
        raise DatasetError(f"There is no folder '{path}'; choose the folder that contains images and labels.")
    if group and not (images or labels):
        raise DatasetError(
            f"The group '{group}' applies to images found by patterns; also give the patterns of images and labels, or "
            "add index.csv with the columns name, group and split."
        )
    dataset = open_pairs(path, images, labels, group) if images or labels else _open(path)
    dataset = dataclasses.replace(dataset, samples=_with_unique_names(dataset.samples))
    if dataset.note:
        logger.warning("%s", dataset.note)
    return dataset


def _open(path: Path) -> Dataset:
    if DatasetFolder.exists(path):
        return open_dataset_folder(path)
    rows = _read_index(path / "index.csv")
    dataset = open_published(path, rows)
    if dataset is not None:
        return dataset
    if (path / "images").is_dir() and (path / "labels").is_dir():
        return open_plain(path, rows)
    for reader in _LAYOUTS:
        dataset = reader(path)
        if dataset is not None:
            return dataset
    raise DatasetError(
        f"'{path}' is not a dataset; it must contain the folders images and labels, with files of the same names."
    )


def _with_unique_names(samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Prepend the folder to names shared by several images, because reports identify images by name."""
    counts = Counter(sample.name for sample in samples)
    if len(counts) == len(samples):
        return samples
    root = os.path.commonpath([sample.image.parent for sample in samples])
    return tuple(
        sample
        if counts[sample.name] == 1
        else dataclasses.replace(sample, name=sample.image.relative_to(root).with_suffix("").as_posix())
        for sample in samples
    )


def _read_index(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [{k: v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"'{path}' cannot be read ({error}); save it as a CSV file in UTF-8.") from error
    return [row | {"split": read_split(row["split"], path)} if "split" in row else row for row in rows]
