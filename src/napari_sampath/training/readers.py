"""Folders that hold a dataset: published tissue sets with an `index.csv`, and plain `images/` + `labels/`."""

from __future__ import annotations

import csv
import dataclasses
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..arrays import ClassInfo
from ..errors import DatasetError
from ..heads.base import check_classes
from .dataset import IGNORED, Dataset, Sample, read_label_map, split_by_group

logger = logging.getLogger(__name__)

REST = ClassInfo(0, "rest", (0, 0, 0))
VALIDATION_SHARE = 0.2
"""Share of the images, whole groups, that validates where a folder names no splits."""

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
_LABEL_NAMES = ("{}.png", "{}.tif", "{}.tiff", "{}_classes.png", "{}_classes.tif", "{}_mask.png")
_COLORS = (
    (230, 25, 75),
    (60, 180, 75),
    (0, 130, 200),
    (245, 130, 48),
    (145, 30, 180),
    (70, 240, 240),
    (240, 50, 230),
)


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """A published collection, recognised by the columns of its `index.csv`."""

    name: str
    columns: frozenset[str]
    """Columns that only this set has."""
    group: str
    """Column with the slide or case."""
    stratum: str
    """Column with the kind of tissue; empty if there is none."""
    classes: tuple[ClassInfo, ...]
    values: Mapping[int, int]
    licence: str
    attribution: str


PUBLISHED = (
    PublishedSet(
        name="ebhi_glands",
        columns=frozenset({"class", "class_id", "case_group"}),
        group="case_group",
        stratum="class",
        classes=(REST, ClassInfo(1, "gland", (0, 158, 115))),
        values={0: 0, 1: 1, 2: 1, 3: 1, 4: 1, 5: 1, 6: 1},
        licence="CC-BY-4.0",
        attribution="EBHI-Seg, Shi et al. 2023, Front. Med. 10:1114673, doi:10.6084/m9.figshare.21540159",
    ),
    PublishedSet(
        name="bcss_tumor",
        columns=frozenset({"group", "tumor_fraction"}),
        group="group",
        stratum="",
        classes=(REST, ClassInfo(1, "tumour", (213, 94, 0))),
        values={0: 0, 255: 1},
        licence="CC0-1.0",
        attribution="BCSS, Amgad et al. 2019, Bioinformatics 35(18)",
    ),
)


def open_dataset(folder: str | Path) -> Dataset:
    """Open a folder as a dataset.

    Known are the published sets of `PUBLISHED` (`index.csv`, `images/`, `masks/`), and any folder with
    `images/` and `labels/` whose files have the same names; `labels/` may be a folder of exported label maps.
    There, `classes.json` names the classes (else they are named by their values), `index.csv` with the columns
    `name`, `group` and `split` names slides or cases and splits (else a fifth of the groups validates), and the
    value 255 is ignored unless it is a class.

    Raises:
        DatasetError: If there is no such folder, it is laid out otherwise, or files are missing.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise DatasetError(f"There is no folder '{folder}'; name the folder that holds images and labels.")
    rows = _read_index(folder / "index.csv")
    columns = set(rows[0]) if rows else set()
    for source in PUBLISHED:
        if source.columns <= columns:
            return _open_published(folder, source, rows)
    if (folder / "images").is_dir() and (folder / "labels").is_dir():
        return _open_plain(folder, rows)
    raise DatasetError(
        f"'{folder}' is no dataset; it must hold the folders images and labels, with files of the same names."
    )


def _open_published(folder: Path, source: PublishedSet, rows: Sequence[Mapping[str, str]]) -> Dataset:
    samples = []
    for row in rows:
        image, labels = folder / "images" / f"{row['name']}.jpg", folder / "masks" / f"{row['name']}.png"
        for path in (image, labels):
            if not path.is_file():
                raise DatasetError(f"'{path}' is missing, though index.csv names it; copy the set again.")
        stratum = row[source.stratum] if source.stratum else ""
        samples.append(Sample(row["name"], image, labels, row[source.group], row["split"], stratum))
    return Dataset(
        source.name,
        tuple(samples),
        source.classes,
        source.values,
        licence=source.licence,
        attribution=source.attribution,
    )


def _open_plain(folder: Path, rows: Sequence[Mapping[str, str]]) -> Dataset:
    paths = sorted(p for p in (folder / "images").iterdir() if p.suffix.lower() in _IMAGE_SUFFIXES)
    if not paths:
        raise DatasetError(
            f"There is no image in '{folder / 'images'}'; allowed are {', '.join(_IMAGE_SUFFIXES)}."
        )
    known = {row["name"]: row for row in rows if row.get("name")}
    samples = []
    for path in paths:
        row = known.get(path.stem) or known.get(path.name) or {}
        labels = _find_labels(folder / "labels", path.stem)
        samples.append(Sample(path.stem, path, labels, row.get("group") or path.stem, row.get("split") or ""))
    if not any(row.get("group") for row in known.values()):
        logger.warning(
            "The dataset %s does not say which images are of one slide or case; each counts as its own, and scores "
            "may be too good. Add index.csv with the columns name, group and split.",
            folder,
        )
    classes, values, ignored = _find_classes(folder, samples)
    return Dataset(folder.name, tuple(_with_splits(samples)), classes, values, ignored)


def _find_labels(folder: Path, stem: str) -> Path:
    for pattern in _LABEL_NAMES:
        path = folder / pattern.format(stem)
        if path.is_file():
            return path
    raise DatasetError(
        f"The image '{stem}' has no label map in '{folder}'; add '{stem}.png', or remove the image."
    )


def _with_splits(samples: list[Sample]) -> list[Sample]:
    if all(sample.split for sample in samples):
        return samples
    if any(sample.split for sample in samples):
        without = next(sample.name for sample in samples if not sample.split)
        raise DatasetError(
            f"index.csv names no split for '{without}'; name one for every image, or for none."
        )
    train, _ = split_by_group(samples, VALIDATION_SHARE, seed=0)
    names = {sample.name for sample in train}
    return [dataclasses.replace(s, split="train" if s.name in names else "val") for s in samples]


def _find_classes(
    folder: Path, samples: Sequence[Sample]
) -> tuple[tuple[ClassInfo, ...], dict[int, int], frozenset[int]]:
    """Return classes, value -> class id, and ignored values, from `classes.json` or from the label maps."""
    path = next(
        (p for p in (folder / "classes.json", folder / "labels" / "classes.json") if p.is_file()), None
    )
    if path is not None:
        named = _read_classes(path)
    else:
        found = sorted({int(v) for sample in samples for v in np.unique(read_label_map(sample.labels))})
        named = [
            ClassInfo(v, f"class {v}", _COLORS[i % len(_COLORS)])
            for i, v in enumerate(found)
            if 0 < v < IGNORED
        ]
        if found and (found[0] < 0 or found[-1] > IGNORED):
            raise DatasetError(
                f"The label maps in '{folder / 'labels'}' hold values from {found[0]} to {found[-1]}; class numbers "
                "are 0 to 255: are these instance ids?"
            )
    if all(c.id for c in named):
        named = [REST, *named]
    classes = check_classes(named)
    ids = {c.id for c in classes}
    return classes, {i: i for i in ids}, frozenset({IGNORED} - ids)


def _read_classes(path: Path) -> list[ClassInfo]:
    """Read a list of classes, {"classes": [...]}, or the `classes.json` of an export, which has one list an image."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "images" in content:
            entries = [entry for image in content["images"].values() for entry in image["classes"]]
        else:
            entries = content["classes"] if isinstance(content, dict) else content
        classes: list[ClassInfo] = []
        for entry in entries:
            red, green, blue = (int(v) for v in entry["color"])
            info = ClassInfo(int(entry["id"]), str(entry["name"]), (red, green, blue))
            if all((info.id, info.name) != (other.id, other.name) for other in classes):
                classes.append(info)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}); it must list id, name and color (red, green, blue) of each class."
        ) from error
    return sorted(classes, key=lambda c: c.id)


def _read_index(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return [{k: v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"'{path}' cannot be read ({error}); save it as CSV in UTF-8.") from error
