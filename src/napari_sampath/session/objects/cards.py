"""Cards: small pictures of proposals, to accept or reject them one by one."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from ...annotations import Document
from ...annotations.masks.masks import Box
from ...arrays import BoolArray, UInt8Array
from ...images.slides import Slide

MARGIN = 0.5
"""Width of the surroundings on each side of an object, as a fraction of its longer side."""
MIN_SIDE_PX = 48
"""Smallest side of a card, in pixels of the image."""


def to_review(document: Document, class_id: int | None = None) -> list[int]:
    """List the ids of proposals that nobody has reviewed, the lowest score first.

    The score is the confidence of a head, or the similarity to the exemplars of *Find similar*, so the first ones are
    the most uncertain or the least similar. Proposals without a score come first.

    Args:
        document: The document.
        class_id: Only proposals of this class; all classes by default.
    """
    proposals = [
        obj for obj in document.objects.values() if obj.trust == 0 and class_id in (None, obj.class_id)
    ]
    return [obj.id for obj in sorted(proposals, key=lambda obj: (obj.score or 0.0, obj.id))]


def card_box(box: Box, hw: tuple[int, int]) -> Box:
    """Return the square window (r0, c0, r1, c1) of a card around the bounding box of an object, inside the image."""
    height, width = box[2] - box[0], box[3] - box[1]
    side = max(MIN_SIDE_PX, math.ceil(max(height, width) * (1 + 2 * MARGIN)))
    starts = []
    for low, high, length in zip(box[:2], box[2:], hw, strict=True):
        starts.append(max(0, min((low + high - side) // 2, length - side)))
    return starts[0], starts[1], min(starts[0] + side, hw[0]), min(starts[1] + side, hw[1])


def card_pixels(image: UInt8Array | Slide, document: Document, object_id: int, side_px: int) -> UInt8Array:
    """Return the picture of an object with its outline in the colour of its class.

    Args:
        image: (H, W, 3) uint8, or a slide.
        document: The document.
        object_id: Id of the object.
        side_px: Least side of the picture of a large object, in pixels; the picture has less than twice as many.

    Returns:
        (h, w, 3) uint8.

    Raises:
        UnknownNameError: If there is no such object.
        ImageError: If the slide cannot be read any more.
    """
    record = document.record(object_id)
    box = card_box(record.box, document.hw)
    step = max(1, (box[2] - box[0]) // side_px)
    if isinstance(image, Slide):
        pixels = image.read(box, step)
    else:
        pixels = image[box[0] : box[2] : step, box[1] : box[3] : step]
    mask = document.pixels(object_id).window(box, step)
    return outlined(pixels, mask, document.classes.by_id(record.class_id).color)


def outlined(pixels: UInt8Array, mask: BoolArray, color: tuple[int, int, int]) -> UInt8Array:
    """Return a copy of pixels (H, W, 3) uint8 with the outline of a mask (H, W) in a colour (red, green, blue)."""
    outline = mask & ~ndimage.binary_erosion(mask, border_value=1)
    result: UInt8Array = np.array(pixels)
    result[outline] = color
    return result
