"""Instance maps from the masks of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import IntArray, LocalMask

PNG_IDS = 2**16 - 1
"""Largest number that a 16-bit PNG can store."""


def number_map(masks: Sequence[LocalMask], hw: tuple[int, int]) -> IntArray:
    """Paint masks into an instance map, with smaller masks on top of larger ones.

    Args:
        masks: Inside the image.
        hw: Image size (H, W) in pixels.

    Returns:
        (H, W) uint16, or uint32 from 65,536 masks on; the first mask has number 1, and 0 is background.
    """
    numbers = np.zeros(hw, dtype=np.uint16 if len(masks) <= PNG_IDS else np.uint32)
    for number, mask in sorted(enumerate(masks, start=1), key=lambda numbered: -numbered[1].area_px):
        numbers[mask.slices][mask.bitmap] = number
    return numbers
