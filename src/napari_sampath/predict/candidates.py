"""The masks that answer a prompt, the best first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy import ndimage

from ..arrays import LOGITS_PX

if TYPE_CHECKING:
    from ..arrays import Features, FloatArray, IntArray, Prompts
    from ..geometry import Frame


class Decodes(Protocol):
    """What answers prompts, as `Model` does."""

    def decode(
        self, features: Features, prompts: Prompts, multimask: bool | None = ...
    ) -> tuple[FloatArray, FloatArray]:
        """Return logits (M, 256, 256) and predicted IoU (M,)."""


def best_first(model: Decodes, features: Features, prompts: Prompts) -> tuple[FloatArray, FloatArray]:
    """Answer a prompt on one tile; the first mask is the one that obeys most points and, of those, the surest.

    One point alone may mean a part or the whole and gets SAM's three candidates. Several points, or a box with points,
    say what is meant, and get the best of all four masks: which one obeys them says more than the predicted IoU. A box
    alone, or a mask with at most one point, gets SAM's single mask.

    Args:
        model: A promptable model.
        features: The tile.
        prompts: In image pixels.

    Returns:
        (M, 256, 256) float32 logits and (M,) float32 predicted IoU, M = 3 or 1; empty masks after others that obey as
        many points.

    Raises:
        PromptError: As `Model.decode`.
    """
    wanted = _how_many(prompts)
    logits, scores = model.decode(features, prompts, wanted)
    obeyed = points_obeyed(logits, prompts, features.frame)
    empty = ~(logits > 0).any(axis=(1, 2))
    order = np.lexsort((-scores, empty, -obeyed))[: 1 if wanted is None else None]
    return logits[order], scores[order]


def points_obeyed(logits: FloatArray, prompts: Prompts, frame: Frame) -> IntArray:
    """Count for each mask the positive points inside it and the negative ones outside.

    Args:
        logits: (M, 256, 256), inside above 0.
        prompts: In image pixels.
        frame: The tile.

    Returns:
        (M,) counts.
    """
    if not len(prompts.points_xy):
        return np.zeros(len(logits), dtype=np.int64)
    # The centre of cell 0 lies half a cell from the edge; between centres masks are interpolated when they are drawn.
    x, y = (frame.to_input(prompts.points_xy) * LOGITS_PX / frame.input_px - 0.5).T
    inside = [ndimage.map_coordinates(one, (y, x), order=1, mode="nearest") > 0 for one in logits]
    obeyed: IntArray = (np.array(inside) == (prompts.labels == 1)).sum(axis=1)
    return obeyed


def _how_many(prompts: Prompts) -> bool | None:
    """Say as `Model.decode` wants it which masks are worth making."""
    points = len(prompts.points_xy)
    if points > 1 or (points and prompts.box_xyxy is not None):
        return None
    return points == 1 and prompts.mask_logits is None
