"""The objects that a promptable model answers worst, as one picture for its card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from ...arrays import BoolArray, UInt8Array

TRUE_COLOUR, ANSWER_COLOUR = (0, 230, 118), (255, 214, 0)
"""Green and yellow, which haematoxylin and eosin are not."""
_COLUMNS = 6
_SIDE_PX = 160
_MARGIN = 0.2
"""Tissue shown around an object, as a share of its longer side."""


@dataclass(frozen=True, slots=True, eq=False)
class Failure:
    """One object and what the model took for it."""

    iou: float
    picture: UInt8Array
    """(160, 160, 3) uint8 RGB, the true outline in green and the answer's in yellow."""


class WorstAnswers:
    """Keeps the worst answers to each kind of object and prompt while a model is scored."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Failure]] = {}

    def offer(self, row: str, iou: float, pixels: UInt8Array, target: BoolArray, answer: BoolArray) -> None:
        """Keep an answer if it is among the worst of its row.

        Args:
            row: Kind of object and prompt, such as "gland, box".
            iou: How well it was answered.
            pixels: (H, W, 3) uint8 RGB.
            target: (H, W) bool, not empty.
            answer: (H, W) bool.
        """
        kept = self._kept.setdefault(row, [])
        if len(kept) < _COLUMNS or iou < kept[-1].iou:
            kept.append(Failure(iou, _outlined(pixels, target, answer)))
            kept.sort(key=lambda failure: failure.iou)
            del kept[_COLUMNS:]

    def rows(self) -> list[str]:
        """List the rows of the picture from the top, by name."""
        return sorted(self._kept)

    def picture(self) -> UInt8Array:
        """Set all that was kept into one picture, (160 * rows, 160 * 6, 3) uint8 RGB, the worst to the left."""
        sheet = np.full((len(self._kept) * _SIDE_PX, _COLUMNS * _SIDE_PX, 3), 255, np.uint8)
        for row, name in enumerate(self.rows()):
            for col, failure in enumerate(self._kept[name]):
                top, left = row * _SIDE_PX, col * _SIDE_PX
                sheet[top : top + _SIDE_PX, left : left + _SIDE_PX] = failure.picture
        return sheet


def _outlined(pixels: UInt8Array, target: BoolArray, answer: BoolArray) -> UInt8Array:
    """Cut a square with all of an object and its answer out of an image and draw both outlines."""
    rows, cols = np.nonzero(target | answer)
    side = int((1 + 2 * _MARGIN) * max(np.ptp(rows), np.ptp(cols))) + 2
    top, left = (int(along.min() + along.max() + 1 - side) // 2 for along in (rows, cols))
    size = _SIDE_PX, _SIDE_PX
    frame = (left, top, left + side, top + side)
    shown = np.array(Image.fromarray(pixels).crop(frame).resize(size, Image.Resampling.BILINEAR))
    for mask, colour in ((target, TRUE_COLOUR), (answer, ANSWER_COLOUR)):
        part = np.array(Image.fromarray(mask).crop(frame).resize(size, Image.Resampling.NEAREST))
        shown[find_boundaries(part, mode="inner")] = colour
    return shown
