"""Tumour regions from nuclei whose types are known: images beside maps of nuclei and of their types."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np
from scipy import ndimage

from ....arrays import ClassInfo, IntArray, UInt8Array
from ....images import read
from ..dataset import IGNORED, Dataset, Item, Sample
from .binary import read_grey
from .own import REST

NEOPLASTIC = 1
"""The type of a tumour's nuclei; any other number is that of another cell, 0 of none (PanNuke, histolytics)."""
WINDOW_PX = 512
"""Images are cut into windows of at least this side, as large as other sets' images of regions."""
REACH_PX = 24.0
"""Standard deviation of a nucleus' say: two nuclei of a 40x scan, so that a lymphocyte among tumour cells has none."""
UNDECIDED = (0.4, 0.6)
"""Between these shares of neoplastic nuclei nobody says on which side of the region's edge a pixel is."""
EMPTY = 0.01
"""Where fewer pixels than this are of nuclei there is no tumour."""
_TRUNCATE = 4.0
"""So many standard deviations away a nucleus has no say."""
_TYPES = "_type"
_HISTOLYTICS = "hgsc_nest"
"""Name of the image of a high-grade serous carcinoma that histolytics brings."""


def open_typed_nuclei(folder: Path) -> Dataset | None:
    """Open a folder with `images/` and, in `masks/`, a map of nuclear types for each, "<name>_type.png".

    What is to be learnt are the regions of tumour: pixels around which most nuclei are neoplastic.
    """
    maps = sorted((folder / "masks").glob(f"*{_TYPES}.png"))
    if not maps:
        return None
    named = {path.stem.removesuffix(_TYPES): path for path in maps}
    known = set(named) == {_HISTOLYTICS}
    return Dataset(
        _HISTOLYTICS if known else folder.name,
        tuple(one for name, path in named.items() for one in _windows(folder / "images", name, path)),
        (REST, ClassInfo(1, "tumour", (213, 94, 0))),
        {0: 0, 1: 1},
        frozenset({IGNORED}),
        licence="BSD-3-Clause" if known else "not stated",
        attribution="histolytics 0.3.0, example of HGSC; nuclei and types by a model" if known else "",
    )


def _windows(images: Path, name: str, labels: Path) -> Iterator[Sample]:
    """Cut an image; all of it trains, and counts as one case."""
    image = next(iter(sorted(images.glob(f"{name}.*"))), images / f"{name}.png")
    height, width = read_grey(labels).shape
    for row in _starts(height):
        for col in _starts(width):
            load = partial(_load, row=row, col=col)
            yield Sample(f"{name} {row} {col}", image, labels, name, "train", load=load)


def _starts(side: int) -> list[int]:
    """List where the windows along a side begin; all of it is in one of them."""
    return [int(start) for start in np.linspace(0, max(0, side - WINDOW_PX), ceil(side / WINDOW_PX))]


def tumour_regions(types: IntArray) -> UInt8Array:
    """Draw regions of tumour around neoplastic nuclei.

    Args:
        types: (H, W), `NEOPLASTIC`, another type, or 0 for no nucleus.

    Returns:
        (H, W) uint8, 1 for tumour, 0 for the rest, `IGNORED` on the edge between them.
    """
    tumour, other = (
        ndimage.gaussian_filter(one.astype(np.float32), REACH_PX, truncate=_TRUNCATE)
        for one in (types == NEOPLASTIC, (types > 0) & (types != NEOPLASTIC))
    )
    share = tumour / np.maximum(tumour + other, 1e-6)
    low, high = UNDECIDED
    regions = np.select([tumour + other < EMPTY, share > high, share < low], [0, 1, 0], IGNORED)
    return regions.astype(np.uint8)


def _load(sample: Sample, row: int, col: int) -> Item:
    types, margin = read_grey(sample.labels), ceil(_TRUNCATE * REACH_PX)
    top, left = max(0, row - margin), max(0, col - margin)
    around = tumour_regions(types[top : row + WINDOW_PX + margin, left : col + WINDOW_PX + margin])
    pixels = read(sample.image).pixels[row : row + WINDOW_PX, col : col + WINDOW_PX]
    return Item(np.ascontiguousarray(pixels), around[row - top :, col - left :][:WINDOW_PX, :WINDOW_PX])
