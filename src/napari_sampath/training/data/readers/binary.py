"""Masks of one class: instance maps, and black and white pictures in whatever mode they were saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ....arrays import IntArray
from ....errors import DatasetError
from ....images import read
from ....rasters import read_raster
from ..dataset import Item, Sample


def load_instances(sample: Sample) -> Item:
    """Read an image whose label file numbers its objects; class 1 is any object."""
    instances = read_grey(sample.labels)
    return Item(read(sample.image).pixels, (instances > 0).astype(np.uint8), instances)


def load_black_and_white(sample: Sample) -> Item:
    """Read an image whose label file is black outside and anything else inside."""
    return Item(read(sample.image).pixels, (read_grey(sample.labels) > 0).astype(np.uint8))


def read_grey(path: Path) -> IntArray:
    """Read (H, W) whole numbers; three channels that are the same are one.

    Raises:
        DatasetError: If there is no such file, or it has colours.
        ImageError: If it is damaged.
    """
    if not path.is_file():
        raise DatasetError(f"There is no label file '{path}'; copy the set again.")
    values = read_raster(path, indexed=True).values
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise DatasetError(
            f"'{path}' has shape {values.shape} and type {values.dtype}; it must hold one number a pixel, not RGB."
        )
    return values.astype(np.int32)
