"""Label files of a single class: instance maps and black-and-white masks, in any image mode."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .....arrays import IntArray
from ...dataset import Item, Sample, read_label_map


def load_instances(sample: Sample) -> Item:
    """Read an image and its instance map; every object has class 1."""
    image, instances = sample.read_files()
    return Item(image.pixels, (instances > 0).astype(np.uint8), instances)


def load_black_and_white(sample: Sample) -> Item:
    """Read an image and its mask, in which every value above 0 is class 1."""
    image, values = sample.read_files()
    return Item(image.pixels, (values > 0).astype(np.uint8))


def read_grey(path: Path) -> IntArray:
    """Read the values (H, W) of a label file as int32; see `read_label_map`."""
    return read_label_map(path).astype(np.int32)
