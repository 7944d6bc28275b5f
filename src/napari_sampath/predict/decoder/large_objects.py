"""Second decoding of a point in a large object, with the bounding box of the first mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...arrays import LOGITS_PX, BoolArray, FloatArray, Prompts
from .candidates import rank
from .mask_upscaling import keep_prompted, prompted_cells

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...geometry import Frame

Answer = tuple[FloatArray, FloatArray]
"""(M, 256, 256) float32 logits and (M,) float32 predicted IoU."""


def is_single_point(prompts: Prompts) -> bool:
    """Return True for one positive point without a box, mask or text."""
    others = (prompts.box_xyxy, prompts.mask_logits, prompts.text)
    return prompts.labels.tolist() == [1] and all(other is None for other in others)


def refine_if_large(
    answer: Answer, prompts: Prompts, frame: Frame, share: float, decode: Callable[[Prompts], Answer]
) -> Answer:
    """Replace the best mask for a point, if it is large, with the answer to the point and the box of that mask.

    Only the connected component under the point counts. Its predicted IoU does not fall, so that it stays the best.

    Args:
        answer: Candidates for the point.
        prompts: A single positive point, in image pixels.
        frame: The tile.
        share: Share of the tile above which a mask is large, 0..1.
        decode: Answers a prompt with three candidates, of which the best is taken.

    Returns:
        The candidates, in the same order.
    """
    logits, scores = answer
    best = int(rank(logits, scores, prompts, frame)[0])
    inside = keep_prompted(logits[best], prompted_cells(frame, prompts)) > 0
    height, width = frame.input_hw
    cell_px = frame.input_px / LOGITS_PX
    if np.count_nonzero(inside) * cell_px**2 <= share * height * width:
        return answer
    again, new_scores = decode(Prompts.make(prompts.points_xy, prompts.labels, _box(inside, frame)))
    chosen = int(rank(again, new_scores, prompts, frame)[0])
    logits, scores = logits.copy(), scores.copy()
    logits[best], scores[best] = again[chosen], max(scores[best], new_scores[chosen])
    return logits, scores


def _box(inside: BoolArray, frame: Frame) -> FloatArray:
    """Return the bounding box (x0, y0, x1, y1) in image pixels of a mask (256, 256) that is not empty."""
    rows, cols = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    height, width = frame.input_hw
    corners = np.array([(cols[0], rows[0]), (cols[-1] + 1, rows[-1] + 1)]) * frame.input_px / LOGITS_PX
    # Cells of the padding do not belong to the image.
    box: FloatArray = frame.to_image(np.minimum(corners, (width, height))).reshape(4)
    return box
