"""Square crops of objects."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import ndimage

from ...arrays import LocalMask, UInt8Array
from .settings import TextSettings

MAX_SIDE_PX = 1024
"""Maximum side of a crop; of larger ones only every second, third ... pixel is kept, because text models shrink them
anyway."""
_GREY = 128
_BLUR = 0.05
"""Standard deviation of the blur, as a multiple of the crop's side."""


def crop_object(pixels: Any, mask: LocalMask, settings: TextSettings) -> UInt8Array:
    """Cut out an object with its surroundings.

    Args:
        pixels: (H, W, 3) uint8 RGB, or an array-like that is read crop by crop.
        mask: The object; not empty.
        settings: Size of the crop, and what happens outside of the object.

    Returns:
        (S, S, 3) uint8 RGB, centred on the object's bounding box; beyond the image, its border pixels are repeated.
    """
    height, width = int(pixels.shape[0]), int(pixels.shape[1])
    rows, cols = (np.flatnonzero(mask.bitmap.any(axis=axis)) for axis in (1, 0))
    r0, r1 = mask.row + rows[0] * mask.step, min(height, mask.row + (rows[-1] + 1) * mask.step)
    c0, c1 = mask.col + cols[0] * mask.step, min(width, mask.col + (cols[-1] + 1) * mask.step)
    side = max(settings.min_crop_px, math.ceil((1 + settings.margin) * max(r1 - r0, c1 - c0)))
    top, left = int((r0 + r1 - side) // 2), int((c0 + c1 - side) // 2)
    step = -(-side // MAX_SIDE_PX)
    wanted = np.arange(0, side, step)
    box = max(0, top), max(0, left), min(height, top + side), min(width, left + side)
    part = np.asarray(pixels[box[0] : box[2], box[1] : box[3]])[..., :3]
    # Repeat the border where the crop reaches beyond the image
    inside_rows = np.clip(top + wanted, box[0], box[2] - 1) - box[0]
    inside_cols = np.clip(left + wanted, box[1], box[3] - 1) - box[1]
    crop: UInt8Array = np.ascontiguousarray(part[inside_rows[:, None], inside_cols])
    if settings.outside == "keep":
        return crop
    inside = mask.window((top, left, top + side, left + side))[::step, ::step]
    if settings.outside == "grey":
        crop[~inside] = _GREY
    else:
        sigma = _BLUR * len(crop)
        crop[~inside] = ndimage.gaussian_filter(crop, (sigma, sigma, 0), mode="nearest")[~inside]
    return crop
