"""Immutable state of the pending prompt: points, boxes and a mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...annotations import Source, bounds
from ...arrays import FloatArray, LocalMask
from ...geometry import Frame

BoxXYXY: TypeAlias = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in image pixels."""


@dataclass(frozen=True, slots=True, eq=False)
class PromptState:
    """Points, boxes and mask of the pending prompt."""

    points: tuple[tuple[float, float, bool], ...] = ()
    """(x, y, positive) in image pixels, oldest first."""
    box: BoxXYXY | None = None
    """The first box."""
    mask: LocalMask | None = None
    """The mask prompt."""
    refines: int = 0
    """Id of the object that the mask comes from and that a commit changes; 0 if a commit adds a new object."""
    more_boxes: tuple[BoxXYXY, ...] = ()
    """Boxes of additional objects; a prompt with several boxes has neither points nor a mask."""
    frame: Frame | None = None
    """The tile on which the masks are predicted."""
    previous_logits: FloatArray | None = None
    """(256, 256) logits of the candidate to refine, on the same tile."""
    corrects: tuple[PromptState, int] | None = None
    """An unanswered prompt on the same tile, and the index of its candidate to refine, instead of its logits."""

    @property
    def empty(self) -> bool:
        """True if there are no points, boxes or masks."""
        return not self.points and self.box is None and self.mask is None

    @property
    def boxes(self) -> tuple[BoxXYXY, ...]:
        """All boxes; if there are several, each belongs to a separate object."""
        return () if self.box is None else (self.box, *self.more_boxes)

    @property
    def source(self) -> Source:
        """The `source` of objects that this prompt creates."""
        if self.box is not None:
            return "box"
        return "mask" if self.mask is not None else "point"

    def positions(self) -> FloatArray:
        """Return all points and the corners of the boxes and the mask as (N, 2) pairs (x, y)."""
        positions = [(x, y) for x, y, _ in self.points]
        for box in self.boxes:
            positions += [box[:2], box[2:]]
        if self.mask is not None:
            r0, c0, r1, c1 = bounds(self.mask)
            positions += [(c0, r0), (c1, r1)]
        return np.array(positions, dtype=np.float64).reshape(-1, 2)

    def to_json(self) -> dict[str, Any]:
        """Return the prompt for an object's record; the mask is stored only as a flag."""
        return {
            "points": [[x, y] for x, y, _ in self.points],
            "labels": [int(positive) for _, _, positive in self.points],
            "box": None if self.box is None else list(self.box),
            "mask": self.mask is not None,
        }
