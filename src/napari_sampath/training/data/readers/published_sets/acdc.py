"""The ACDC dataset as distributed: one folder per patient, with volumes in NIfTI files."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .....arrays import ClassInfo
from .....errors import DatasetError
from ...dataset import Dataset, Item, Sample
from ..classes import BACKGROUND
from ..splits import with_splits

CLASSES = (
    BACKGROUND,
    ClassInfo(1, "right ventricle", (0, 114, 178)),
    ClassInfo(2, "myocardium", (0, 158, 115)),
    ClassInfo(3, "left ventricle", (213, 94, 0)),
)


def open_acdc(folder: Path) -> Dataset | None:
    """Open ACDC; return None if the folder has another layout.

    Images are `training/patient001/patient001_frame01.nii.gz` and labels `..._frame01_gt.nii.gz`; `Info.cfg` states the
    disease, and `testing/` is the test split. Each slice of a patient's two frames is an image, and the patient is the
    case.
    """
    root = next((p for p in (folder, folder / "database") if (p / "training").is_dir()), None)
    if root is None or not any(root.glob("training/patient*/*_gt.nii*")):
        return None
    samples = []
    for part, split in (("training", "train"), ("testing", "test")):
        for labels in sorted((root / part).glob("patient*/*_gt.nii*")):
            image = labels.with_name(labels.name.replace("_gt.nii", ".nii"))
            if not image.is_file():
                raise DatasetError(f"The image '{image}' is missing; copy the dataset again.")
            samples += _slices(image, labels, split)
    return Dataset(
        "acdc",
        tuple(with_splits(samples)),
        CLASSES,
        {info.id: info.id for info in CLASSES},
        licence="CC-BY-NC-SA-4.0",
        attribution="ACDC, Bernard et al. 2018, IEEE Trans. Med. Imaging 37(11)",
    )


def _slices(image: Path, labels: Path, split: str) -> list[Sample]:
    volume, mm = _volume(image)
    patient, stem = image.parent.name, image.name.split(".")[0]
    properties = patient, split, _read_disease(image.parent / "Info.cfg"), mm * 1000
    return [
        Sample(f"{stem}_slice{z:02d}", image, labels, *properties, functools.partial(_load, index=z))
        for z in range(volume.shape[2])
    ]


def _load(sample: Sample, index: int) -> Item:
    """Read a slice, with grey values stretched to 0..255 as in the reference implementation."""
    grey = _volume(sample.image)[0][..., index].T.astype(np.float64)
    labels = _volume(sample.labels)[0][..., index].T
    low, high = float(grey.min()), float(grey.max())
    stretched = ((grey - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)
    return Item(np.stack([stretched] * 3, axis=-1), labels.round().astype(np.int16))


@functools.lru_cache(maxsize=4)
def _volume(path: Path) -> tuple[npt.NDArray[Any], float]:
    """Read the values (X, Y, Z) of a NIfTI file and its pixel size in millimetres."""
    try:
        import nibabel
        from nibabel.filebasedimages import ImageFileError
    except ImportError:
        raise DatasetError(
            'ACDC needs nibabel to read NIfTI files; install it: pip install "napari-sampath[nifti]".'
        ) from None
    try:
        file = nibabel.load(path)
        values = np.asarray(file.dataobj)
        spacing = float(file.header.get_zooms()[0])
    except (OSError, EOFError, ValueError, ImageFileError) as error:
        raise DatasetError(f"'{path}' cannot be read ({error}); copy the dataset again.") from error
    if values.ndim != 3:
        raise DatasetError(
            f"'{path}' has {values.ndim} dimensions, but a frame of ACDC has three; copy the dataset again."
        )
    return values, spacing


def _read_disease(path: Path) -> str:
    """Read the disease ("Group: DCM") of a patient; empty if it is not stated."""
    if not path.is_file():
        return ""
    lines = [line.partition(":") for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    return next((value.strip() for key, _, value in lines if key.strip() == "Group"), "")
