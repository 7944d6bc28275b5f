"""Outline an object at a point or in a box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...arrays import LocalMask, Prompts
from ..decoder.mask_upscaling import keep_prompted, local_mask, prompted_cells

if TYPE_CHECKING:
    from ...arrays import Features
    from ..model import Model


def outline(model: Model, features: Features, place: Sequence[float]) -> LocalMask:
    """Return the best candidate for a point (x, y) or a box (x0, y0, x1, y1) in image pixels.

    Raises:
        PromptError: If the place lies outside the tile, or the model answers no prompts.
    """
    prompts = Prompts.make(points=[place]) if len(place) == 2 else Prompts.make(box=place)
    logits, scores = model.decode(features, prompts)
    best = keep_prompted(logits[scores.argmax()], prompted_cells(features.frame, prompts))
    return local_mask(features.frame, best)
