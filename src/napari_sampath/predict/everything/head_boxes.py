"""Boxes of the objects that shipped heads find, as prompts of "segment everything"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import WeightsError
from ...heads import load_head
from ..foreign.compare import check_image
from ..instances.settings import InstanceSettings
from ..instances.split_touching import split_segmentation
from ..segmentation import check_match, segment_job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import FloatArray
    from ...geometry import Frame
    from ...jobs import Job
    from ..model import Model

HEADS = {"nucleus-instance": False, "gland-cnn": True}
"""Shipped heads whose objects are used -> whether only on images like their training images. Elsewhere, boxes of false
glands displace other masks, but those of false nuclei hardly do (measured on training images)."""


def head_boxes_job(pixels: Any, model: Model) -> Job[FloatArray]:
    """Make a job that lists the boxes of the objects that the shipped heads of a model find.

    Heads of other models are not used, and neither is the head for glands if it was trained on images unlike this one.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        model: The model.

    Returns:
        (N, 4) boxes (x0, y0, x1, y1) in image pixels.
    """
    boxes = []
    for name, only_similar in HEADS.items():
        head = load_head(name)
        try:
            check_match(head, model)
        except WeightsError:
            continue
        if only_similar and check_image(pixels, head):
            continue
        segmentation = yield from segment_job(pixels, head, model)
        if only_similar and segmentation.warning:
            continue
        for obj in split_segmentation(segmentation, InstanceSettings()):
            rows, cols = obj.mask.slices
            boxes.append((cols.start, rows.start, cols.stop, rows.stop))
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
    away = np.abs(boxes[:, None].reshape(-1, 1, 2, 2).mean(2) - tiles[None].reshape(1, -1, 2, 2).mean(2)).max(
        2
    )
    owner = (inside - away / (1 + away.max(initial=0))).argmax(axis=1)
    clipped = np.concatenate([low, high], axis=2)
    return [clipped[owner == number, number] for number in range(len(frames))]
