"""Cellpose masks: object numbers as a 16-bit PNG, or as a TIFF if there are more than 65,535.

https://cellpose.readthedocs.io/en/latest/outputs.html. Classes are not stored.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ...rasters import check_pixels
from ..format import Export, Format, Output
from .pixels import PNG_IDS, write_png, write_tiff

if TYPE_CHECKING:
    from ...arrays import IntArray


def write(export: Export) -> list[Output]:
    """Write the object numbers as `<image>_cp_masks.png` or `.tif`; areas without a number get new numbers.

    Raises:
        ImageError: If the image does not fit in memory.
    """
    numbers = _numbers(export)
    fits = int(numbers.max(initial=0)) <= PNG_IDS
    suffix, dtype, writer = ("png", np.uint16, write_png) if fits else ("tif", np.uint32, write_tiff)
    # Cellpose looks for the name of the image file without its ending.
    path = f"{export.stem}_cp_masks.{suffix}"
    return [Output(path, partial(writer, values=numbers, dtype=dtype), kind="")]


def _numbers(export: Export) -> IntArray:
    check_pixels(*export.hw, export.name)
    numbers: IntArray = np.array(export.labels.instance_map[:], dtype=np.int64)
    highest = int(numbers.max(initial=0))
    unnumbered = (obj for obj in export.objects.items if not obj.number)
    for number, obj in enumerate(unnumbered, start=highest + 1):
        numbers[obj.mask.slices][obj.mask.bitmap] = number
    return numbers


FORMATS = (
    Format(
        "cellpose",
        "Cellpose masks",
        (".png", ".tif"),
        write=write,
        reader="png",
        summary="Object numbers as an image, with the name that Cellpose looks for.",
        lost="Classes, colours and details are not written.",
    ),
)
