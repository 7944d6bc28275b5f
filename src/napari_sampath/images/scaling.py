"""Scale pixel values of any type to 0..255."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ..arrays import UInt8Array
from ..errors import ImageError

_BLOCK = 2**22
"""Number of values converted at a time, since a float64 copy of a whole slide would not fit in memory."""


def to_uint8(values: npt.NDArray[Any], name: str) -> tuple[UInt8Array, str | None]:
    """Scale (H, W, C) values to 0..255, equally in all channels.

    The first of these ranges that applies is mapped to 0..255:

    * 0..1 for bool, and for float values within 0..1;
    * 0..255, if the largest value is in the upper half of this range (8-bit values in a wider type);
    * 0 to the maximum of an integer type, if the largest value is in the upper half of this range;
    * the smallest to the largest value.

    Args:
        values: (H, W, C) bool, integer or float.
        name: Name of the image, used in messages.

    Returns:
        (H, W, C) uint8 (`values` itself if it is uint8), and a clause that describes the scaling, or None.

    Raises:
        ImageError: If a value is not a finite number.
    """
    if values.dtype == np.uint8:
        return values, None
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255), "false and true were mapped to 0 and 255"
    # Find the minimum and the maximum, and the range to map to 0..255
    low, high = _extremes(values, name)
    bottom, top, how = _range(values.dtype, low, high)
    if low == high:
        top = bottom + 1
    return _scale(values, bottom, top), f"{values.dtype.name} values from {low:g} to {high:g} were {how}"


def _extremes(values: npt.NDArray[Any], name: str) -> tuple[float, float]:
    low, high = float("inf"), float("-inf")
    for block in _blocks(values):
        if values.dtype.kind == "f" and not np.isfinite(block).all():
            raise ImageError(
                f"'{name}' has values that are not finite (NaN or infinity); replace them before you open it."
            )
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    return low, high


def _range(dtype: np.dtype[Any], low: float, high: float) -> tuple[float, float, str]:
    """Return the values that are mapped to 0 and 255, and a clause that describes the scaling."""
    if dtype.kind == "f":
        tops = [1.0, 255.0]
    else:
        tops = [255.0, float(np.iinfo(dtype).max)]
    for top in tops:
        used = high > top / 2 or top == 1
        if low >= 0 and used and high <= top:
            return 0.0, top, "taken as 0..255" if top == 255 else f"scaled from 0..{top:.0f} to 0..255"
    return low, high, "stretched to 0..255"


def _scale(values: npt.NDArray[Any], bottom: float, top: float) -> UInt8Array:
    scaled = np.empty(values.shape, dtype=np.uint8)
    # The difference of two huge floats of opposite sign can overflow; the difference of their halves cannot.
    factor = 0.5 if math.isinf(top - bottom) else 1.0
    start, span = bottom * factor, top * factor - bottom * factor
    for target, block in zip(_blocks(scaled), _blocks(values), strict=True):
        target[...] = np.rint((block.astype(np.float64) * factor - start) / span * 255)
    return scaled


def _blocks(values: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """Split an array into views of a few rows each."""
    rows = max(1, _BLOCK // max(1, values[0].size))
    return [values[top : top + rows] for top in range(0, len(values), rows)]
