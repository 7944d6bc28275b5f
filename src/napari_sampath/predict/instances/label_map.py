"""Instance maps from the masks of objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import IntArray, LocalMask

PNG_IDS = 2**16 - 1
"""Largest number a 16-bit PNG holds."""


def number_map(masks: Sequence[LocalMask], hw: tuple[int, int]) -> IntArray:
    """Paint masks into an instance map; where they overlap, smaller ones are on top.

    Args:
        masks: Inside the image.
        hw: Image size (H, W) in pixels.

    Returns:
        (H, W) uint16, or uint32 from 65,536 masks on; mask k has the number k + 1, 0 is background.
    """
    numbers = np.zeros(hw, dtype=np.uint16 if len(masks) <= PNG_IDS else np.uint32)
    for index in sorted(range(len(masks)), key=lambda index: -masks[index].area_px):
        numbers[masks[index].slices][masks[index].bitmap] = index + 1
    return numbers
