"""Ranking of candidate masks, and correction of masks at points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from ...arrays import LOGITS_PX

if TYPE_CHECKING:
    from ...arrays import Features, FloatArray, IntArray, Prompts
    from ...geometry import Frame


MARGIN = 2.0
"""Absolute value of the logit that a correction sets at its point; negative for a negative point."""
REACH = 0.2
"""Standard deviation of the Gaussian of a correction, as a fraction of the square root of the mask area."""


class PromptModel(Protocol):
    """A model that answers prompts, such as `Model`."""

    def decode(
        self, features: Features, prompts: Prompts, multimask: bool | None = ...
    ) -> tuple[FloatArray, FloatArray]:
        """Return logits (M, 256, 256) and predicted IoU (M,)."""


def best_first(model: PromptModel, features: Features, prompts: Prompts) -> tuple[FloatArray, FloatArray]:
    """Answer a prompt on one tile, the best mask first.

    Masks are sorted by the number of points that they satisfy, then by predicted IoU, with empty masks after others.
    A single point is ambiguous and gets SAM's three candidates. Several points, or a box with points, get the best of
    all four masks, because satisfied points are a better criterion than predicted IoU. A box
    without points, or a mask with at most one point, gets SAM's single mask. A text counts as a point.

    Args:
        model: A promptable model.
        features: The tile.
        prompts: In image pixels.

    Returns:
        (M, 256, 256) float32 logits and (M,) float32 predicted IoU, M = 3 or 1.

    Raises:
        PromptError: As `Model.decode`.
    """
    multimask = _multimask(prompts)
    logits, scores = model.decode(features, prompts, multimask)
    order = rank(logits, scores, prompts, features.frame)[: 1 if multimask is None else None]
    return logits[order], scores[order]


def rank(logits: FloatArray, scores: FloatArray, prompts: Prompts, frame: Frame) -> IntArray:
    """Return the order (M,) of logits (M, 256, 256) with predicted IoU (M,), best first, as `best_first` sorts them."""
    satisfied = satisfied_points(logits, prompts, frame)
    empty = ~(logits > 0).any(axis=(1, 2))
    order: IntArray = np.lexsort((-scores, empty, -satisfied))
    return order


def satisfied_points(logits: FloatArray, prompts: Prompts, frame: Frame) -> IntArray:
    """Count for each mask the positive points inside and the negative points outside.

    Args:
        logits: (M, 256, 256), positive inside.
        prompts: In image pixels.
        frame: The tile.

    Returns:
        (M,) counts.
    """
    if not len(prompts.points_xy):
        return np.zeros(len(logits), dtype=np.int64)
    inside = [_read(mask, prompts.points_xy, frame) > 0 for mask in logits]
    satisfied: IntArray = (np.array(inside) == (prompts.labels == 1)).sum(axis=1)
    return satisfied


def corrected(logits: FloatArray, points_xy: FloatArray, labels: IntArray, frame: Frame) -> FloatArray:
    """Change logits so that the mask satisfies all corrections, even those that the model ignores.

    At each point whose logit is within `MARGIN`, a Gaussian is added (subtracted for a negative point) that moves the
    logit at the point to the margin; it is wider in larger masks. If points contradict each other, the last one wins.
    With `sampath-tiny`, this saves one of ten points needed for IoU 0.80 (`REACH` and `MARGIN` were chosen on training
    images).

    Args:
        logits: (256, 256), positive inside.
        points_xy: (N, 2) corrections (x, y) in image pixels.
        labels: (N,) 1 inside, 0 outside.
        frame: The tile.

    Returns:
        (256, 256) float32, to draw the mask; the mask prompt of the next prediction is the uncorrected logits.
    """
    result = np.array(logits, dtype=np.float32)
    # Scale the reach of corrections with the mask.
    reach = max(1.0, REACH * float((result > 0).sum()) ** 0.5)
    for point, (col, row), label in zip(points_xy, _cells(points_xy, frame), labels, strict=True):
        sign = 1.0 if label == 1 else -1.0
        # Skip points that the mask satisfies already.
        missing = MARGIN - sign * float(_read(result, point[None], frame)[0])
        if missing <= 0:
            continue
        # Draw a Gaussian around the point.
        rows, cols = (
            np.exp(-((np.arange(LOGITS_PX, dtype=np.float32) - centre) ** 2) / (2 * reach**2))
            for centre in (row, col)
        )
        gaussian = rows[:, None] * cols[None, :]
        # Scale it so that the interpolated logit at the point reaches the margin.
        result += gaussian * np.float32(sign * missing / float(_read(gaussian, point[None], frame)[0]))
    return result


def _cells(points_xy: FloatArray, frame: Frame) -> FloatArray:
    """Map (N, 2) points (x, y) in image pixels to (column, row) of the logits; cell centres are whole numbers."""
    cells: FloatArray = frame.to_input(points_xy) * LOGITS_PX / frame.input_px - 0.5
    return cells


def _read(logits: FloatArray, points_xy: FloatArray, frame: Frame) -> FloatArray:
    """Interpolate logits (256, 256) at (N, 2) points (x, y) in image pixels, as for drawing masks."""
    cols, rows = _cells(points_xy, frame).T
    values: FloatArray = ndimage.map_coordinates(logits, (rows, cols), order=1, mode="nearest")
    return values


def _multimask(prompts: Prompts) -> bool | None:
    """Return the `multimask` argument of `Model.decode` that suits the prompts."""
    points = len(prompts.points_xy)
    has_box, has_text = prompts.box_xyxy is not None, prompts.text is not None
    if points > 1 or (points and (has_box or has_text)):
        return None
    return (points == 1 or (has_text and not has_box)) and prompts.mask_logits is None
