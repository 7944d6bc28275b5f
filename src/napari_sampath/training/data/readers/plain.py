"""Folders with `images/` and `labels/` whose files have the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ....errors import DatasetError
from ..dataset import Dataset, Sample
from .classes import find_classes
from .splits import with_splits

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_LABEL_NAMES = ("{}.png", "{}.tif", "{}.tiff", "{}_classes.png", "{}_classes.tif", "{}_mask.png")


def open_plain(folder: Path, rows: Sequence[Mapping[str, str]]) -> Dataset:
    """Open a folder with `images/` and `labels/`, such as a folder of exported label maps.

    `classes.json` names the classes. Without it, each label value is a class, except 255, which is ignored unless it is
    the only value. `rows` is the content of `index.csv`, with the columns `name`, `group` and `split`; without splits,
    a fifth of the images, in whole groups, is the validation split.

    Raises:
        DatasetError: If there are no images, an image has no label map, or `index.csv` has no column `name`.
    """
    paths = sorted(p for p in (folder / "images").iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DatasetError(
            f"There is no image in '{folder / 'images'}'; add files that end in {', '.join(IMAGE_SUFFIXES)}."
        )
    index = {row["name"]: row for row in rows if row.get("name")}
    if rows and not index:
        raise DatasetError(
            f"'{folder / 'index.csv'}' has the columns {list(rows[0])}; it must have name, group and split, separated "
            "by commas."
        )
    samples = []
    for path in paths:
        row = index.get(path.stem) or index.get(path.name) or {}
        labels = _find_labels(folder / "labels", path.stem)
        samples.append(Sample(path.stem, path, labels, row.get("group") or path.stem, row.get("split") or ""))
    note = "" if any(row.get("group") for row in index.values()) else unknown_groups(folder)
    classes, values, ignored = find_classes(folder, samples)
    return Dataset(folder.name, tuple(with_splits(samples)), classes, values, ignored, note=note)


def unknown_groups(folder: Path) -> str:
    """Return the warning for a folder that does not state the slide or case of its images."""
    return (
        f"The dataset {folder} does not state the slide or case of its images; each counts as its own case, so scores "
        "may be too optimistic. Add index.csv with the columns name, group and split."
    )


def _find_labels(folder: Path, stem: str) -> Path:
    for pattern in _LABEL_NAMES:
        path = folder / pattern.format(stem)
        if path.is_file():
            return path
    raise DatasetError(
        f"The image '{stem}' has no label map in '{folder}'; add '{stem}.png', or remove the image."
    )
