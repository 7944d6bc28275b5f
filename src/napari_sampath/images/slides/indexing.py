"""Basic indexing of images that are read window by window."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...arrays import UInt8Array


def read_index(
    key: Any, hw: tuple[int, int], read: Callable[[tuple[int, int, int, int]], UInt8Array]
) -> UInt8Array:
    """Return what numpy's basic indexing of an image (H, W, 3) returns, reading only the window that it touches.

    Args:
        key: Integers, slices with any step, and at most one ellipsis.
        hw: Size (H, W) of the image.
        read: Reads the pixels (h, w, 3) of a box (r0, c0, r1, c1) that is not empty.

    Raises:
        IndexError: If an integer lies outside.
    """
    keys = key if isinstance(key, tuple) else (key,)
    if any(item is Ellipsis for item in keys):
        place = next(number for number, item in enumerate(keys) if item is Ellipsis)
        keys = (*keys[:place], *[slice(None)] * (4 - len(keys)), *keys[place + 1 :])
    rows, cols, channels = (*keys, slice(None), slice(None), slice(None))[:3]
    (r0, r1), row_index = _span(rows, hw[0])
    (c0, c1), col_index = _span(cols, hw[1])
    window = read((r0, c0, r1, c1)) if r1 > r0 and c1 > c0 else np.empty((r1 - r0, c1 - c0, 3), np.uint8)
    part: UInt8Array = window[row_index, col_index, channels]
    return part


def _span(key: Any, length: int) -> tuple[tuple[int, int], Any]:
    """Return the range (start, stop) of rows or columns that a key touches, and the index within this range."""
    chosen = range(length)[key]
    if isinstance(chosen, int):
        return (chosen, chosen + 1), 0
    if not chosen:
        return (0, 0), slice(None)
    return (min(chosen[0], chosen[-1]), max(chosen[0], chosen[-1]) + 1), slice(None, None, chosen.step)
