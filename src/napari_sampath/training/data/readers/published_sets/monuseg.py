"""The MoNuSeg dataset as distributed: TIFF images, and outlines of nuclei in XML files."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from .....arrays import ClassInfo
from .....errors import DatasetError
from .....formats import rings
from .....images import read
from ...dataset import Dataset, Item, Sample
from ..classes import BACKGROUND
from ..splits import with_splits

NUCLEUS = ClassInfo(1, "nucleus", (86, 180, 233))
_MPP = 0.25
"""Micrometres per pixel of the 40x scans in MoNuSeg."""


def open_monuseg(folder: Path) -> Dataset | None:
    """Open MoNuSeg; return None if the folder has another layout.

    `Tissue Images/` and `Annotations/` are the training split; images and XML files in the same folder are the test
    split. `folder` may also be the parent of the training and test folders.
    """
    samples = []
    for part in (folder, *sorted(p for p in folder.glob("*") if p.is_dir())):
        for path in sorted(part.glob("Tissue Images/*.tif")):
            samples.append(_sample(path, part / "Annotations" / f"{path.stem}.xml", "train"))
        for path in sorted(part.glob("*.tif")):
            if path.with_suffix(".xml").is_file():
                samples.append(_sample(path, path.with_suffix(".xml"), "test"))
    if not samples:
        return None
    return Dataset(
        "monuseg",
        tuple(with_splits(samples)),
        (BACKGROUND, NUCLEUS),
        {0: 0, 1: 1},
        licence="CC-BY-NC-SA-4.0",
        attribution="MoNuSeg, Kumar et al. 2017, IEEE Trans. Med. Imaging 36(7), and Kumar et al. 2020, 39(5)",
    )


def _sample(image: Path, labels: Path, split: str) -> Sample:
    # The first three parts of a TCGA barcode identify the patient.
    patient = "-".join(image.stem.split("-")[:3])
    return Sample(image.stem, image, labels, patient, split, mpp=_MPP, load=_load)


def _load(sample: Sample) -> Item:
    pixels = read(sample.image).pixels
    hw = pixels.shape[0], pixels.shape[1]
    instances = np.zeros(hw, dtype=np.int32)
    for number, corners in enumerate(_outlines(sample.labels), start=1):
        mask = rings.fill([[np.array(corners)]], hw)
        instances[mask.slices][mask.bitmap] = number
    return Item(pixels, (instances > 0).astype(np.uint8), instances)


def _outlines(path: Path) -> list[list[tuple[float, float]]]:
    """Read the corners (x, y) of each region."""
    try:
        root = ElementTree.parse(path).getroot()
        return [
            [(float(v.attrib["X"]), float(v.attrib["Y"])) for v in region.iter("Vertex")]
            for region in root.iter("Region")
            if region.find(".//Vertex") is not None
        ]
    except FileNotFoundError:
        raise DatasetError(f"The outline file '{path}' is missing; copy the dataset again.") from None
    except (OSError, ElementTree.ParseError, KeyError, ValueError) as error:
        raise DatasetError(f"'{path}' cannot be read ({error}); copy the dataset again.") from error
