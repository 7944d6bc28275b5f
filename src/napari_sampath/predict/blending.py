"""Blending of the class probabilities of overlapping tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..arrays import ClassInfo, FloatArray, UInt8Array
    from ..geometry import Frame

Region: TypeAlias = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in image pixels; r1 and c1 are exclusive."""
Part: TypeAlias = tuple[slice, slice]
"""Rows and columns of a tile, relative to it."""
WHOLE: Part = (slice(None), slice(None))


def part_of(frame: Frame, region: Region) -> Part:
    """Return the rows and columns of a tile, relative to it, that lie in a region, which it overlaps."""
    r0, c0, r1, c1 = region
    rows = slice(max(r0 - frame.top, 0), min(r1 - frame.top, frame.height))
    return rows, slice(max(c0 - frame.left, 0), min(c1 - frame.left, frame.width))


class Canvas:
    """Blends overlapping tiles, row by row, into the class map and the confidence of a region.

    Pixels near the border of the region are blended as in the whole image.

    Args:
        frames: All tiles that overlap the region, in the order in which they are added: row by row.
        region: The region.
        classes: One class per channel.
        probabilities: Whether the probabilities of all classes are kept.
        compact: Store the confidence as uint8, 0 to 255, instead of float32, 0 to 1.
        with_depth: Whether the head predicts the depth.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        region: Region,
        classes: Sequence[ClassInfo],
        probabilities: bool = False,
        compact: bool = False,
        with_depth: bool = False,
    ) -> None:
        self._region = region
        hw = region[2] - region[0], region[3] - region[1]
        self._ids = np.array([info.id for info in classes], dtype=np.uint8)
        self._row_weights = _axis_weights({frame.top: frame.height for frame in frames})
        self._col_weights = _axis_weights({frame.left: frame.width for frame in frames})
        self.labels: UInt8Array = np.zeros(hw, dtype=np.uint8)
        """(H, W) uint8, id of the most probable class."""
        self.confidence: Any = np.zeros(hw, dtype=np.uint8 if compact else np.float32)
        """(H, W), probability of that class."""
        self.probabilities: FloatArray | None = (
            np.zeros((len(classes), *hw), dtype=np.float16) if probabilities else None
        )
        self.depth: FloatArray | None = np.zeros(hw, dtype=np.float16) if with_depth else None
        """(H, W) float16, depth of each pixel in its object."""
        self._top = 0
        height = min(max(frame.height for frame in frames), hw[0])
        self._band = np.zeros((len(classes) + with_depth, height, hw[1]), dtype=np.float32)
        """(K, rows, W) weighted sums of the unfinished rows, followed by that of the depth if the head predicts it; the
        first row is row `_top` of the region."""

    def add(self, frame: Frame, probabilities: FloatArray, depth: FloatArray | None = None) -> None:
        """Add the probabilities (K, h, w) and the depth (h, w) of the part of a tile that lies in the region."""
        band, weight = self._place(frame)
        for number, values in enumerate(probabilities):
            band[number] += values * weight
        if depth is not None:
            band[-1] += depth * weight

    def add_background(self, frame: Frame) -> None:
        """Add a tile whose pixels belong to the first class."""
        band, weight = self._place(frame)
        band[0] += weight

    def _place(self, frame: Frame) -> tuple[FloatArray, FloatArray]:
        """Return the place (K, h, w) of a tile in the band, and its weights (h, w)."""
        rows, cols = part_of(frame, self._region)
        top = frame.top + rows.start - self._region[0]
        left = frame.left + cols.start - self._region[1]
        if top > self._top:
            done = top - self._top
            self._finish_rows(done)
            for values in self._band:  # one by one, because numpy copies the overlapping rows first
                values[:-done] = values[done:]
                values[-done:] = 0
            self._top = top
        height, width = rows.stop - rows.start, cols.stop - cols.start
        weight = self._row_weights[frame.top][rows, None] * self._col_weights[frame.left][cols]
        return self._band[:, :height, left : left + width], weight

    def finish(self) -> None:
        """Finish the remaining rows; call it once, after the last tile."""
        self._finish_rows(self.labels.shape[0] - self._top)

    def _finish_rows(self, rows: int) -> None:
        values = self._band[: len(self._ids), :rows]
        target = slice(self._top, self._top + rows)
        # Class by class, because np.argmax over the first axis takes five times as long
        best, index = values[0].copy(), np.zeros(values.shape[1:], dtype=np.uint8)
        for channel in range(1, len(values)):
            np.putmask(index, values[channel] > best, channel)
            np.maximum(best, values[channel], out=best)
        self.labels[target] = self._ids[index]
        np.minimum(best, 1, out=best)
        self.confidence[target] = np.rint(best * 255) if self.confidence.dtype == np.uint8 else best
        if self.probabilities is not None:
            self.probabilities[:, target] = values
        if self.depth is not None:
            self.depth[target] = self._band[-1, :rows]


def _axis_weights(lengths: dict[int, int]) -> dict[int, FloatArray]:
    """Compute the weights of `blend_weights` for windows that start anywhere."""
    first = min(lengths)
    total = max(start + length for start, length in lengths.items()) - first
    moved = blend_weights({start - first: length for start, length in lengths.items()}, total)
    return {start + first: weights for start, weights in moved.items()}


def blend_weights(lengths: dict[int, int], total: int) -> dict[int, FloatArray]:
    """Compute blending weights along one axis, with which overlapping windows fade into each other.

    Args:
        lengths: First pixel of each window -> its length; together they cover the axis.
        total: Length of the axis in pixels.

    Returns:
        First pixel of each window -> (length,) float32 weights > 0; at each pixel they sum to 1.
    """
    windows = {
        start: np.sin(np.pi * (np.arange(length) + 0.5) / length) ** 2 for start, length in lengths.items()
    }
    summed = np.zeros(total)
    for start, window in windows.items():
        summed[start : start + len(window)] += window
    return {
        start: (window / summed[start : start + len(window)]).astype(np.float32)
        for start, window in windows.items()
    }
