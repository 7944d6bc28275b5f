"""Datasets of tumour regions, derived from maps of nuclear types."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from scipy import ndimage

from .....arrays import ClassInfo, IntArray, UInt8Array
from .....images import read
from ...dataset import IGNORED, Dataset, Item, Sample
from ..classes import BACKGROUND
from .binary import read_grey

NEOPLASTIC = 1
"""Type number of tumour nuclei in PanNuke and histolytics; other numbers are other cell types, 0 is no nucleus."""
WINDOW_PX = 512
"""Side of the windows that images are cut into, similar to the image size of other datasets of regions."""
REACH_PX = 24.0
"""Standard deviation of the Gaussian that smooths the maps of nuclei, in pixels.

It is about two nuclei in a 40x scan, so that single lymphocytes among tumour cells do not count.
"""
UNDECIDED = (0.4, 0.6)
"""Range of the local fraction of neoplastic nuclei in which pixels are on the edge of a region and are ignored."""
EMPTY = 0.01
"""Local fraction of pixels covered by nuclei, below which pixels are background."""
_TRUNCATE = 4.0
"""Radius at which the smoothing kernel is truncated, in standard deviations."""
_TYPES = "_type"
_HISTOLYTICS = "hgsc_nest"
"""Name of the example image of a high-grade serous carcinoma in histolytics."""


def open_typed_nuclei(folder: Path) -> Dataset | None:
    """Open a folder with `images/` and a map of nuclear types for each image, `masks/<name>_type.png`; else None.

    The class "tumour" covers the pixels around which most nuclei are neoplastic.
    """
    maps = {
        path.stem.removesuffix(_TYPES): path for path in sorted((folder / "masks").glob(f"*{_TYPES}.png"))
    }
    if not maps:
        return None
    histolytics = set(maps) == {_HISTOLYTICS}
    return Dataset(
        _HISTOLYTICS if histolytics else folder.name,
        tuple(window for name, path in maps.items() for window in _windows(folder / "images", name, path)),
        (BACKGROUND, ClassInfo(1, "tumour", (213, 94, 0))),
        {0: 0, 1: 1},
        frozenset({IGNORED}),
        licence="BSD-3-Clause" if histolytics else "not stated",
        attribution="histolytics 0.3.0, example of HGSC; nuclei and types predicted by a model"
        if histolytics
        else "",
    )


def _windows(images: Path, name: str, labels: Path) -> Iterator[Sample]:
    """Cut an image into training windows, which all belong to the same case."""
    image = next(iter(sorted(images.glob(f"{name}.*"))), images / f"{name}.png")
    height, width = read_grey(labels).shape
    for row in _starts(height):
        for col in _starts(width):
            load = partial(_load, row=row, col=col)
            yield Sample(f"{name} {row} {col}", image, labels, name, "train", load=load)


def _starts(side: int) -> list[int]:
    """Return the first pixel of each window along a side, so that the windows cover it."""
    return [int(start) for start in np.linspace(0, max(0, side - WINDOW_PX), ceil(side / WINDOW_PX))]


def tumour_regions(types: IntArray) -> UInt8Array:
    """Derive tumour regions from the nuclear type of each pixel (H, W), 0 for no nucleus.

    Returns (H, W) uint8, 1 for tumour, 0 for background, `IGNORED` on the edge between them.
    """
    # Smooth the maps of neoplastic and of other nuclei.
    tumour, other = (
        ndimage.gaussian_filter(nuclei.astype(np.float32), REACH_PX, truncate=_TRUNCATE)
        for nuclei in (types == NEOPLASTIC, (types > 0) & (types != NEOPLASTIC))
    )
    # Threshold the local fraction of neoplastic nuclei.
    share = tumour / np.maximum(tumour + other, 1e-6)
    low, high = UNDECIDED
    regions = np.select([tumour + other < EMPTY, share > high, share < low], [0, 1, 0], IGNORED)
    return regions.astype(np.uint8)


def _load(sample: Sample, row: int, col: int) -> Item:
    types, margin = read_grey(sample.labels), ceil(_TRUNCATE * REACH_PX)
    top, left = max(0, row - margin), max(0, col - margin)
    regions = tumour_regions(types[top : row + WINDOW_PX + margin, left : col + WINDOW_PX + margin])
    pixels = read(sample.image).pixels[row : row + WINDOW_PX, col : col + WINDOW_PX]
    return Item(np.ascontiguousarray(pixels), regions[row - top :, col - left :][:WINDOW_PX, :WINDOW_PX])
