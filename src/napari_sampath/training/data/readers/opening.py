"""Open a dataset folder with the reader for its layout."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from ....errors import DatasetError
from ....formats import DatasetFolder
from ....formats.format import ValuesAs
from ..dataset import Dataset, Sample
from .dataset_folder import open_dataset_folder
from .grouping import Groups, read_index
from .listed import open_listed
from .nuclei_arrays import open_cellvit, open_hovernet
from .pairs import open_pairs
from .plain import open_plain
from .published_sets.acdc import open_acdc
from .published_sets.indexed import open_published
from .published_sets.layouts import open_bcss, open_crag, open_ebhi, open_glas
from .published_sets.monuseg import open_monuseg
from .published_sets.typed_nuclei import open_typed_nuclei

logger = logging.getLogger(__name__)

_NNUNET = "imagesTr"
"""Folder of the images of nnU-Net, whose list of labels is also called `dataset.json`."""

_LAYOUTS = (open_bcss, open_crag, open_glas, open_ebhi, open_acdc, open_monuseg, open_typed_nuclei)
"""Readers that are tried in this order; each returns None if the folder has another layout."""


def open_dataset(
    path: str | Path, images: str = "", labels: str = "", group: str = "", as_: ValuesAs = "auto"
) -> Dataset:
    """Open a folder as a dataset.

    The supported layouts are folders written by this package (`dataset.json`); the datasets in `PUBLISHED`
    (`index.csv`, `images/`, `masks/`); BCSS, CRAG, GlaS, EBHI-Seg, ACDC and MoNuSeg as distributed; files that list
    images, such as COCO (`open_listed`); images with maps of nuclear types (`open_typed_nuclei`); arrays of nuclei
    (`open_hovernet`, `open_cellvit`); images with a label file for each (`open_plain`); and files matched by two
    patterns (`open_pairs`). `index.csv` states slide or case, split and scale of the images.

    Args:
        path: The folder, or a file that lists images.
        images: Pattern of the image paths, such as "*/img_*.png".
        labels: Pattern of the label map paths, with the same wildcards.
        group: Regular expression that matches the slide or case in an image path.
        as_: Whether the values of label maps are classes or objects of one class; "auto" decides by their values.

    Raises:
        DatasetError: If the folder is missing, has an unknown layout, or lacks files.
    """
    path = Path(path).expanduser()
    if path.name in ("", ".."):  # Its name is that of the dataset.
        path = path.resolve()
    if not path.exists():
        raise DatasetError(f"There is no folder '{path}'; choose the folder that contains images and labels.")
    if group and not (images or labels):
        raise DatasetError(
            f"The group '{group}' applies to images found by patterns; also give the patterns of images and labels, or "
            "add index.csv with the columns name, group and split."
        )
    dataset = open_pairs(path, images, labels, group, as_) if images or labels else _open(path, as_)
    dataset = dataclasses.replace(dataset, samples=_with_unique_names(dataset.samples))
    for sentence in (dataset.note, *dataset.remarks):
        if sentence:
            logger.warning("%s", sentence)
    return dataset


def _open(path: Path, as_: ValuesAs) -> Dataset:
    if DatasetFolder.exists(path) and not (path / _NNUNET).is_dir():
        return open_dataset_folder(path)
    rows = read_index(path / "index.csv")
    dataset = open_published(path, rows)
    if dataset is not None:
        return dataset
    problems: list[str] = []
    with_labels = (path / "images").is_dir() and (path / "labels").is_dir()
    readers: list[Callable[[Path], Dataset | None]] = []
    if not with_labels:
        readers += [*_LAYOUTS, functools.partial(open_listed, rows=rows, problems=problems)]
    if path.is_dir():
        readers += [
            functools.partial(reader, rows=rows)
            for reader in (open_hovernet, open_cellvit, functools.partial(open_plain, as_=as_))
        ]
    for reader in readers:
        dataset = reader(path)
        if dataset is not None:
            return _with_scales(dataset, Groups(path, rows))
    reason = f" ({problems[0].rstrip('.')})" if problems else ""
    raise DatasetError(
        f"'{path}' is not a dataset; it must contain the folders images and labels, with files of the same "
        f"names{reason}."
    )


def _with_scales(dataset: Dataset, stated: Groups) -> Dataset:
    """Set the micrometres per pixel that `index.csv` states."""
    samples = (
        dataclasses.replace(sample, mpp=stated.mpp(sample.image)) if sample.mpp is None else sample
        for sample in dataset.samples
    )
    return dataclasses.replace(dataset, samples=tuple(samples))


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
