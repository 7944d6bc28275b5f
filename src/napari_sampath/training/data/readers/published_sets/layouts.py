"""BCSS and gland datasets (CRAG, GlaS, EBHI-Seg) in the folder layouts in which they are distributed."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from .....arrays import ClassInfo
from .....errors import DatasetError
from ...dataset import Dataset, Sample
from ..classes import BACKGROUND
from ..splits import with_splits
from .binary import load_black_and_white, load_instances

GLAND = ClassInfo(1, "gland", (0, 158, 115))

BCSS_CLASSES = (
    ClassInfo(1, "tumour", (213, 94, 0)),
    ClassInfo(2, "stroma", (86, 180, 233)),
    ClassInfo(3, "inflammatory", (0, 114, 178)),
    ClassInfo(4, "necrosis", (240, 228, 66)),
    ClassInfo(5, "other", (204, 121, 167)),
)
_BCSS_CODES = {1: (1, 19, 20), 2: (2,), 3: (3, 10, 11), 4: (4,), 5: (5, 6, 8, 9, 12, 13, 14, 16, 17, 18, 21)}
"""Class id -> codes in the `gtruth_codes.tsv` of BCSS; 0 (outside), 7 (exclude) and 15 (undetermined) are ignored."""
_BCSS_TEST_SITES = ("E2", "EW", "GM", "LL", "OL", "S3")
"""Codes of the hospitals that the test slides are from, as in the split by the BCSS authors and in SAM-Path."""
_BCSS_NAME = re.compile(r"(TCGA-(\w\w)-\w{4}).*?_MPP-([\d.]+)")
_EBHI_KINDS = ("Normal", "Polyp", "Low-grade IN", "High-grade IN", "Serrated adenoma", "Adenocarcinoma")
_EBHI_CASE = re.compile(r"GT[A-Za-z]*(\d+)")
_EBHI = "EBHI-Seg, Shi et al. 2023, Front. Med. 10:1114673, doi:10.6084/m9.figshare.21540159"


def open_bcss(folder: Path) -> Dataset | None:
    """Open BCSS: `images/` or `rgbs_colorNormalized/`, and `masks/`; file names state slide, position and scale."""
    images = next((p for p in (folder / "images", folder / "rgbs_colorNormalized") if p.is_dir()), None)
    matches = [(p, match) for p in _files(folder / "masks", ".png") if (match := _BCSS_NAME.search(p.name))]
    if images is None or not matches:
        return None
    samples = []
    for path, match in matches:
        case, site, mpp = match.groups()
        split = "test" if site in _BCSS_TEST_SITES else "train"
        image = _same_stem(images, path)
        samples.append(Sample(path.stem, image, path, case, split, mpp=float(mpp.rstrip("."))))
    return Dataset(
        "bcss",
        tuple(with_splits(samples)),
        BCSS_CLASSES,
        {code: class_id for class_id, codes in _BCSS_CODES.items() for code in codes},
        frozenset({0, 7, 15}),
        licence="CC0-1.0",
        attribution="BCSS, Amgad et al. 2019, Bioinformatics 35(18)",
    )


def open_crag(folder: Path) -> Dataset | None:
    """Open CRAG: `train/` and `valid/` (the test split in papers), each with `Images/` and `Annotation/`."""
    samples = []
    for part, split in (("train", "train"), ("valid", "test")):
        for path in _files(folder / part / "Images", ".png"):
            labels = folder / part / "Annotation" / path.name
            samples.append(Sample(path.stem, path, labels, path.stem, split, mpp=0.5, load=load_instances))
    note = (
        f"CRAG in {folder} does not state the slides of its images; images of the same slide may be in both the "
        "training and the validation split."
    )
    citation = "CRAG, Graham et al. 2019, Med. Image Anal. 52, and Awan et al. 2017"
    return _glands("crag", samples, citation, "not stated", note)


def open_glas(folder: Path) -> Dataset | None:
    """Open GlaS: `train_1.bmp`, `train_1_anno.bmp`, `testA_1.bmp` ..., and `Grade.csv` with patients and grades."""
    patients = _glas_patients(folder / "Grade.csv")
    samples = []
    for labels in _files(folder, "_anno.bmp"):
        name = labels.stem.removesuffix("_anno")
        patient, grade = patients.get(name, (name, ""))
        split = "train" if name.startswith("train") else "test"
        image = folder / f"{name}.bmp"
        samples.append(Sample(name, image, labels, patient, split, grade, 0.62005, load_instances))
    note = "" if patients else f"GlaS in {folder} lacks Grade.csv, so the patient of each image is unknown."
    citation = "GlaS, Sirinukunwattana et al. 2017, Med. Image Anal. 35"
    return _glands("glas", samples, citation, "research only; see the challenge's terms", note)


def open_ebhi(folder: Path) -> Dataset | None:
    """Open EBHI-Seg: one folder per tissue type, each with `image/` and `label/`."""
    samples = []
    for kind in _EBHI_KINDS:
        for path in _files(folder / kind / "image", ".png"):
            case = _EBHI_CASE.search(path.stem)
            name, labels = f"{kind} {path.stem}", folder / kind / "label" / path.name
            group = case.group(1) if case else path.stem
            samples.append(Sample(name, path, labels, group, "", kind, load=load_black_and_white))
    return _glands("ebhi", samples, _EBHI, "CC-BY-4.0", "")


def _glands(name: str, samples: Sequence[Sample], citation: str, licence: str, note: str) -> Dataset | None:
    if not samples:
        return None
    return Dataset(
        name,
        tuple(with_splits(samples)),
        (BACKGROUND, GLAND),
        {0: 0, 1: 1},
        licence=licence,
        attribution=citation,
        note=note,
    )


def _glas_patients(path: Path) -> dict[str, tuple[str, str]]:
    """Read image name -> (patient, grade)."""
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [
                {(k or "").strip().lower(): (v or "").strip() for k, v in row.items()}
                for row in csv.DictReader(file)
            ]
        return {row["name"]: (f"patient {row['patient id']}", row.get("grade (glas)", "")) for row in rows}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, AttributeError) as error:
        raise DatasetError(f"'{path}' cannot be read ({error}); copy the dataset again.") from error


def _files(folder: Path, ending: str) -> list[Path]:
    """List the files of a folder whose names end with `ending`, ignoring case; empty if there is no such folder."""
    return sorted(p for p in folder.glob("*") if p.name.lower().endswith(ending))


def _same_stem(folder: Path, path: Path) -> Path:
    for suffix in (".png", ".jpg", ".tif"):
        if (folder / f"{path.stem}{suffix}").is_file():
            return folder / f"{path.stem}{suffix}"
    raise DatasetError(f"The label map '{path}' has no image in '{folder}'; copy the dataset again.")
