"""Select candidates of *Find similar* by similarity, size and overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import FloatArray, LocalMask
from .settings import RANK_IOU_WEIGHT, RANK_SIZE_WEIGHT, SimilarSettings

if TYPE_CHECKING:
    from .prototypes import Prototypes
    from .tile_search import SimilarObject


@dataclass(frozen=True, slots=True, eq=False)
class SimilarResult:
    """All candidates of a search; `select` chooses among them without a new search."""

    candidates: tuple[SimilarObject, ...]
    exemplars: tuple[LocalMask, ...]
    """The exemplars in the searched image."""
    area_px: float
    """Geometric mean area of the exemplars in pixels."""
    prototypes: Prototypes = field(repr=False)

    def rejecting(self, rejected: Sequence[SimilarObject]) -> SimilarResult:
        """Return the result with lower similarities for candidates that look more like rejected ones."""
        known = [obj.feature for obj in rejected]
        if not known:
            return self
        candidates = self.candidates
        before = self.prototypes.similarity(np.stack([obj.feature for obj in candidates]))
        prototypes = self.prototypes.rejecting(np.stack([*self.prototypes.rejected, *known]))
        after = prototypes.similarity(np.stack([obj.feature for obj in candidates]))
        return replace(
            self,
            candidates=tuple(
                replace(obj, similarity=obj.similarity + float(change))
                for obj, change in zip(candidates, after - before, strict=True)
            ),
            prototypes=prototypes,
        )

    def select(self, settings: SimilarSettings | None = None) -> list[SimilarObject]:
        """Return the candidates that pass the settings, without overlaps, most similar first."""
        settings = settings or SimilarSettings()
        passed = [
            obj
            for obj in self.candidates
            if obj.similarity >= settings.min_similarity
            and settings.min_size <= obj.mask.area_px / self.area_px <= settings.max_size
        ]
        passed.sort(key=self._rank, reverse=True)
        taken = list(self.exemplars)
        kept: list[SimilarObject] = []
        boxes = [_box(mask) for mask in taken]
        for obj in passed:
            if _overlap(obj.mask, taken, np.array(boxes).reshape(-1, 4)) <= settings.max_overlap:
                taken.append(obj.mask)
                boxes.append(_box(obj.mask))
                kept.append(obj)
        return sorted(kept, key=lambda obj: -obj.similarity)

    def _rank(self, obj: SimilarObject) -> float:
        size = abs(float(np.log(obj.mask.area_px / self.area_px)))
        return min(obj.similarity, 1.0) + RANK_IOU_WEIGHT * obj.predicted_iou - RANK_SIZE_WEIGHT * size


def _box(mask: LocalMask) -> tuple[int, int, int, int]:
    rows, cols = mask.slices
    return rows.start, cols.start, rows.stop, cols.stop


def _overlap(mask: LocalMask, others: Sequence[LocalMask], boxes: FloatArray) -> float:
    """Return the larger of two shares: of the mask that others cover, and of another mask that this one covers."""
    if not len(boxes):
        return 0.0
    r0, c0, r1, c1 = _box(mask)
    near = (boxes[:, 0] < r1) & (boxes[:, 2] > r0) & (boxes[:, 1] < c1) & (boxes[:, 3] > c0)
    covered = np.zeros_like(mask.bitmap)
    contained = 0.0
    for index in np.flatnonzero(near).tolist():
        shared = mask.bitmap & others[index].window((r0, c0, r1, c1))
        covered |= shared
        contained = max(contained, float(shared.sum()) / max(1, others[index].area_px))
    return max(float(covered.sum()) / max(1, mask.area_px), contained)
