"""Label files of a single class: instance maps and black-and-white masks, in any image mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .....arrays import IntArray
from .....errors import DatasetError
from .....images import read
from .....rasters import read_raster
from ...dataset import Item, Sample


def load_instances(sample: Sample) -> Item:
    """Read an image and its instance map; every object has class 1."""
    instances = read_grey(sample.labels)
    return Item(read(sample.image).pixels, (instances > 0).astype(np.uint8), instances)


def load_black_and_white(sample: Sample) -> Item:
    """Read an image and its mask, in which every value above 0 is class 1."""
    return Item(read(sample.image).pixels, (read_grey(sample.labels) > 0).astype(np.uint8))


def read_grey(path: Path) -> IntArray:
    """Read (H, W) integers from a grey image, or from an RGB image with three equal channels.

    Raises:
        DatasetError: If the file is missing or is a colour image.
    """
    if not path.is_file():
        raise DatasetError(f"The label file '{path}' is missing; copy the dataset again.")
    values = read_raster(path, indexed=True).values
    if values.ndim == 3 and (values[..., :3] == values[..., :1]).all():
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "bui":
        raise DatasetError(
            f"'{path}' has shape {values.shape} and type {values.dtype}; save one number per pixel, not RGB."
        )
    return values.astype(np.int32)
