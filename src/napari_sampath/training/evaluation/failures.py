"""The worst predictions of a promptable model, as an image for its model card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from ...arrays import BoolArray, UInt8Array

TRUE_COLOUR, PREDICTED_COLOUR = (0, 230, 118), (255, 214, 0)
"""Green and yellow, which stand out from haematoxylin and eosin."""
_COLUMNS = 6
_SIDE_PX = 160
_MARGIN = 0.2
"""Margin around an object, as a fraction of its longer side."""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """One object and its prediction."""

    iou: float
    image: UInt8Array
    """(160, 160, 3) uint8 RGB, with the true outline in green and the predicted one in yellow."""


class WorstPredictions:
    """Collection of the predictions with the lowest IoU for each kind of object and prompt."""

    def __init__(self) -> None:
        self._failures: dict[str, list[Failure]] = {}

    def add(self, row: str, iou: float, pixels: UInt8Array, target: BoolArray, predicted: BoolArray) -> None:
        """Add a prediction if it is among the worst of its kind of object and prompt.

        Args:
            row: Kind of object and prompt, such as "gland, box"; each kind is one row of the image.
            iou: IoU of the prediction.
            pixels: (H, W, 3) uint8 RGB.
            target: (H, W) bool, not empty.
            predicted: (H, W) bool.
        """
        failures = self._failures.setdefault(row, [])
        if len(failures) < _COLUMNS or iou < failures[-1].iou:
            failures.append(Failure(iou, _outlined(pixels, target, predicted)))
            failures.sort(key=lambda failure: failure.iou)
            del failures[_COLUMNS:]

    def rows(self) -> list[str]:
        """Return the names of the rows of the image, from top to bottom."""
        return sorted(self._failures)

    def image(self) -> UInt8Array:
        """Arrange the predictions in one image, (160 * rows, 160 * 6, 3) uint8 RGB, the worst on the left."""
        sheet = np.full((len(self._failures) * _SIDE_PX, _COLUMNS * _SIDE_PX, 3), 255, np.uint8)
        for row, name in enumerate(self.rows()):
            for col, failure in enumerate(self._failures[name]):
                top, left = row * _SIDE_PX, col * _SIDE_PX
                sheet[top : top + _SIDE_PX, left : left + _SIDE_PX] = failure.image
        return sheet


def _outlined(pixels: UInt8Array, target: BoolArray, predicted: BoolArray) -> UInt8Array:
    rows, cols = np.nonzero(target | predicted)
    side = int((1 + 2 * _MARGIN) * max(np.ptp(rows), np.ptp(cols))) + 2
    top, left = (int(values.min() + values.max() + 1 - side) // 2 for values in (rows, cols))
    size = _SIDE_PX, _SIDE_PX
    frame = (left, top, left + side, top + side)
    crop = np.array(Image.fromarray(pixels).crop(frame).resize(size, Image.Resampling.BILINEAR))
    for mask, colour in ((target, TRUE_COLOUR), (predicted, PREDICTED_COLOUR)):
        part = np.array(Image.fromarray(mask).crop(frame).resize(size, Image.Resampling.NEAREST))
        crop[find_boundaries(part, mode="inner")] = colour
    return crop
