"""Filters of candidate masks: stability, duplicates, small regions.

An upper bound of the stability is computed at 256 px, and only masks that may pass are enlarged, within their bounding
boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy import ndimage
from torchvision.ops import batched_nms

from ...arrays import FloatArray, IntArray, LocalMask
from ..decoder.mask_upscaling import dependent_range, enlarge_rows, interpolation_matrix

if TYPE_CHECKING:
    from scipy import sparse
    from torch import Tensor

    from ...geometry import Frame

_TOLERANCE = 1e-3
"""Tolerance of bounds, larger than the rounding errors of enlarged logits."""
_CONNECTED = np.ones((3, 3), dtype=np.bool_)
"""8-connectivity, as in SAM."""


@dataclass(frozen=True, slots=True, eq=False)
class _Axis:
    """The mapping of low-resolution logits to the pixels of a window along one axis."""

    matrix: sparse.csr_array
    first: IntArray
    """(pixels,) first cell that each pixel depends on, ascending."""
    last: IntArray
    """(pixels,) last cell that each pixel depends on, ascending."""

    @classmethod
    def of(cls, frame: Frame, axis: int, logits_px: int) -> _Axis:
        matrix = interpolation_matrix(frame, axis, logits_px)
        return cls(matrix, matrix.indices[matrix.indptr[:-1]], matrix.indices[matrix.indptr[1:] - 1])

    @property
    def span(self) -> int:
        """Maximum number of cells that one pixel depends on."""
        return int((self.last - self.first).max()) + 1


class StabilityScreen:
    """Stability scores of the candidates in one window: an upper bound at low resolution, and the exact value.

    The stability score is the IoU of the masks of logits above +offset and above -offset (`calculate_stability_score`
    in SAM). The second mask contains the first, so the score is a ratio of areas.

    Args:
        frame: The window.
        logits_px: Side of the low-resolution logits.
        offset: Offset of the thresholds, at least 0.
    """

    def __init__(self, frame: Frame, logits_px: int, offset: float) -> None:
        self._frame = frame
        self._offset = offset
        self._rows, self._cols = (_Axis.of(frame, axis, logits_px) for axis in (0, 1))
        self._pixel_counts = [
            torch.from_numpy(np.bincount(axis.first, minlength=logits_px)).float()
            for axis in (self._rows, self._cols)
        ]

    def upper_bound(self, logits: Tensor) -> Tensor:
        """Compute an upper bound of the stability scores without enlarging logits.

        An enlarged logit is a weighted mean of a few cells: it can exceed a threshold only if one of them does, and
        certainly does if all of them do.

        Args:
            logits: (K, h, w) low-resolution logits, on any device.

        Returns:
            (K,) float32 upper bounds; infinite if unknown.
        """
        inner = self._area(logits > self._offset - _TOLERANCE, every=False)
        outer = self._area(logits > _TOLERANCE - self._offset, every=True)
        return torch.where(outer > 0, inner * (1 + _TOLERANCE) / outer, torch.inf)

    def _area(self, above: Tensor, every: bool) -> Tensor:
        """Count the pixels (K,) for which any cell (or every cell) that they depend on is set in `above` (K, h, w)."""
        for dim, axis in ((1, self._rows), (2, self._cols)):
            last = above.shape[dim] - 1
            cells = torch.arange(last + 1, device=above.device)
            combined = above
            for step in range(1, axis.span):
                shifted = above.index_select(dim, (cells + step).clamp(max=last))
                combined = combined & shifted if every else combined | shifted
            above = combined
        rows, cols = (counts.to(above.device) for counts in self._pixel_counts)
        return above.float() @ cols @ rows

    def measure(self, logits: FloatArray) -> tuple[LocalMask, np.float32]:
        """Enlarge one candidate within its bounding box and measure its stability.

        Args:
            logits: (h, w) float32 low-resolution logits.

        Returns:
            The mask in image pixels and its stability score; NaN if no logit exceeds -offset.
        """
        # Find the pixels that can exceed -offset.
        wide = logits > -self._offset
        r0, r1 = dependent_range(self._rows.matrix, wide.any(axis=1))
        c0, c1 = dependent_range(self._cols.matrix, wide.any(axis=0))
        # Enlarge the logits there in bands, and count the pixels above each threshold.
        columns = np.ascontiguousarray((self._cols.matrix[c0:c1] @ np.ascontiguousarray(logits.T)).T)
        bits = np.zeros((r1 - r0, c1 - c0), dtype=np.bool_)
        inner = outer = 0
        for rows, band in enlarge_rows(self._rows.matrix, columns, r0, r1):
            np.greater(band, 0, out=bits[rows])
            inner += int(np.count_nonzero(band > self._offset))
            outer += int(np.count_nonzero(band > -self._offset))
        if bits.any():
            mask = LocalMask.from_dense(bits, self._frame.top + r0, self._frame.left + c0)
        else:
            mask = LocalMask(self._frame.top, self._frame.left, bits[:0, :0])
        return mask, np.float32(inner) / np.float32(outer) if outer else np.float32(np.nan)


def without_duplicates(boxes: list[tuple[int, int, int, int]], scores: Tensor, iou: float) -> list[int]:
    """Apply non-maximum suppression; return the indices of the boxes that are kept, best score first.

    Args:
        boxes: N boxes (x0, y0, x1, y1).
        scores: (N,) float.
        iou: If the IoU of two boxes is larger than this, the box with the lower score is dropped.
    """
    if not boxes:
        return []
    corners = torch.tensor(boxes, dtype=torch.float32)
    kept: list[int] = batched_nms(corners, scores, torch.zeros(len(boxes)), iou).tolist()
    return kept


def fill_small_holes(mask: LocalMask, hw: tuple[int, int], area_px: int) -> tuple[LocalMask, bool]:
    """Fill holes of fewer than `area_px` pixels.

    A hole is an 8-connected component of the background, also one between the mask and the image edge.

    Args:
        mask: Not empty, inside the image.
        hw: Image size (H, W).
        area_px: Minimum area of regions that are kept.

    Returns:
        The mask, and whether it was changed.
    """
    # Pad the bounding box by one pixel, weighted by the number of pixels between the mask and the image edge.
    height, width = mask.bitmap.shape
    r0, r1 = max(0, mask.row - 1), min(hw[0], mask.row + height + 1)
    c0, c1 = max(0, mask.col - 1), min(hw[1], mask.col + width + 1)
    row_weights, col_weights = np.ones(r1 - r0, np.int64), np.ones(c1 - c0, np.int64)
    row_weights[0] += r0
    row_weights[-1] += hw[0] - r1
    col_weights[0] += c0
    col_weights[-1] += hw[1] - c1
    weights = np.multiply.outer(row_weights, col_weights)
    inside = np.zeros((r1 - r0, c1 - c0), dtype=np.bool_)
    inside[mask.row - r0 : mask.row - r0 + height, mask.col - c0 : mask.col - c0 + width] = mask.bitmap
    # Measure the holes, and fill the small ones.
    labels, _ = ndimage.label(~inside, _CONNECTED)
    sizes = np.bincount(labels.ravel(), weights=weights.ravel())
    small = sizes < area_px
    small[0] = False
    if not small.any():
        return mask, False
    filled = small[labels]
    if (filled & (weights > 1)).any():
        whole_image = LocalMask(0, 0, mask.to_dense(hw))
        return fill_small_holes(whole_image, hw, area_px)
    return LocalMask.from_dense(inside | filled, r0, c0), True


def drop_small_islands(mask: LocalMask, area_px: int) -> tuple[LocalMask, bool]:
    """Remove components of fewer than `area_px` pixels; if all are smaller, keep the largest.

    Args:
        mask: Not empty.
        area_px: Minimum area of regions that are kept.

    Returns:
        The mask, and whether it was changed.
    """
    labels, _ = ndimage.label(mask.bitmap, _CONNECTED)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    kept = sizes >= area_px
    kept[0] = False
    if kept.sum() == len(sizes) - 1:
        return mask, False
    if not kept.any():
        kept[_first_of_largest(labels, sizes, mask)] = True
    return LocalMask.from_dense(kept[labels], mask.row, mask.col), True


def _first_of_largest(labels: IntArray, sizes: IntArray, mask: LocalMask) -> int:
    """Return the label of the largest component; among equals, the first in OpenCV's order of 2 x 2 blocks."""
    rows, cols = np.nonzero(sizes[labels] == sizes.max())
    first = np.lexsort(((cols + mask.col) // 2, (rows + mask.row) // 2))[0]
    return int(labels[rows[first], cols[first]])
