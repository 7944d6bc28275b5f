"""A folder with `images/` and `labels/`, whose files have the same names."""

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
    """Open the folder.

    Args:
        folder: With `images/` and `labels/`; `labels/` may be a folder of exported label maps. `classes.json`
            names the classes, else they are named by their values, and 255 is ignored unless it is the only one.
        rows: Of its `index.csv`, with the columns `name`, `group` and `split`; else a fifth of the groups validates.

    Raises:
        DatasetError: If there is no image, one has no label map, or the index names no image.
    """
    paths = sorted(p for p in (folder / "images").iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise DatasetError(
            f"There is no image in '{folder / 'images'}'; allowed are {', '.join(IMAGE_SUFFIXES)}."
        )
    known = {row["name"]: row for row in rows if row.get("name")}
    if rows and not known:
        raise DatasetError(
            f"'{folder / 'index.csv'}' has the columns {list(rows[0])}; give name, group and split, with commas "
            "between."
        )
    samples = []
    for path in paths:
        row = known.get(path.stem) or known.get(path.name) or {}
        labels = _find_labels(folder / "labels", path.stem)
        samples.append(Sample(path.stem, path, labels, row.get("group") or path.stem, row.get("split") or ""))
    note = "" if any(row.get("group") for row in known.values()) else unknown_groups(folder)
    classes, values, ignored = find_classes(folder, samples)
    return Dataset(folder.name, tuple(with_splits(samples)), classes, values, ignored, note=note)


def unknown_groups(folder: Path) -> str:
    """Write the warning for a folder that does not say which images belong together."""
    return (
        f"The dataset {folder} does not say which images are of one slide or case; each counts as its own, and scores "
        "may be too good. Add index.csv with the columns name, group and split."
    )


def _find_labels(folder: Path, stem: str) -> Path:
    for pattern in _LABEL_NAMES:
        path = folder / pattern.format(stem)
        if path.is_file():
            return path
    raise DatasetError(
        f"The image '{stem}' has no label map in '{folder}'; add '{stem}.png', or remove the image."
    )
