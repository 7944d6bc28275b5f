"""Outlines as masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from skimage.draw import polygon2mask

from ..arrays import BoolArray


def fill(outlines_xy: Sequence[npt.ArrayLike], hw: tuple[int, int]) -> BoolArray:
    """Fill outlines, all together one object.

    Args:
        outlines_xy: Each (N, 2) corners (x, y) in pixels, of which the first pixel covers 0 to 1; outlines of
            fewer than three corners are nothing.
        hw: Size (H, W) of the image.

    Returns:
        (H, W) bool, True where the centre of a pixel lies inside of one of them.
    """
    mask = np.zeros(hw, dtype=np.bool_)
    for outline in outlines_xy:
        corners = np.asarray(outline, dtype=np.float64).reshape(-1, 2)
        if len(corners) >= 3:
            mask |= polygon2mask(hw, corners[:, ::-1] - 0.5)
    return mask
