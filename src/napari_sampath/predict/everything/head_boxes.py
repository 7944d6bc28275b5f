"""Boxes of the objects that shipped heads find, as prompts of "segment everything"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...heads import load_head
from ..foreign.compare import check_image
from ..instances.settings import InstanceSettings
from ..instances.split_touching import split_segmentation
from ..segmentation import matches, segment_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import FloatArray
    from ...geometry import Frame
    from ...jobs import Job
    from ..model import Model

GLANDS, NUCLEI = "gland-cnn", "nucleus-instance"
"""The shipped heads whose objects are used."""


def head_boxes_job(pixels: Any, model: Model) -> Job[FloatArray]:
    """Make a job that lists the boxes of the objects that a shipped head of a model finds.

    These are glands if the image is like the training images of the head for glands, which finds false glands
    elsewhere, and otherwise nuclei. Objects of both scales would compete for the same pixels.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        model: The model; heads of other models are not used.

    Returns:
        (N, 4) boxes (x0, y0, x1, y1) in image pixels.
    """
    glands, nuclei = load_head(GLANDS), load_head(NUCLEI)
    segmentation = None
    if matches(glands, model) and not check_image(pixels, glands):
        segmentation = yield from segment_job(pixels, glands, model)
    if segmentation is None or segmentation.warning:
        segmentation = None
        if matches(nuclei, model):
            segmentation = yield from segment_job(pixels, nuclei, model)
    objects = [] if segmentation is None else split_segmentation(segmentation, InstanceSettings())
    slices = [obj.mask.slices for obj in objects]
    boxes = [(cols.start, rows.start, cols.stop, rows.stop) for rows, cols in slices]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def boxes_by_tile(boxes: FloatArray, frames: Sequence[Frame]) -> list[FloatArray]:
    """Assign each box to the tile that contains most of it, and clip it to the tile.

    Args:
        boxes: (N, 4) boxes (x0, y0, x1, y1) in image pixels.
        frames: The tiles, which cover the image.

    Returns:
        The boxes (n, 4) of each tile.
    """
    tiles = np.array([(f.left, f.top, f.left + f.width, f.top + f.height) for f in frames], dtype=np.float64)
    low = np.maximum(boxes[:, None, :2], tiles[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], tiles[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    # Of tiles that contain as much of it, use the one whose centre is closest.
    centres, middles = (boxes[:, :2] + boxes[:, 2:]) / 2, (tiles[:, :2] + tiles[:, 2:]) / 2
    away = np.abs(centres[:, None] - middles).max(axis=2)
    owner = (inside - away / (1 + away.max(initial=0))).argmax(axis=1)
    clipped = np.concatenate([low, high], axis=2)
    return [clipped[owner == number, number] for number in range(len(frames))]
