"""Selection of whole objects of one scale among candidates, instead of objects together with their parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...arrays import LocalMask


class Candidate(Protocol):
    """A mask that can be selected."""

    @property
    def predicted_iou(self) -> float:
        """IoU that the decoder predicts for the mask."""

    @property
    def stability(self) -> float:
        """Stability score of the mask."""

    @property
    def area_px(self) -> int:
        """Number of pixels."""

    @property
    def is_cut(self) -> bool:
        """Whether the mask probably continues outside of its crop."""

    def local_mask(self) -> LocalMask:
        """Return the pixels."""


C = TypeVar("C", bound=Candidate)


def select_whole(
    candidates: Sequence[C], hw: tuple[int, int], max_covered: float, size_weight: float
) -> list[C]:
    """Select masks one by one, best first, unless they are covered by masks that were selected before.

    Args:
        candidates: The masks.
        hw: Image size (H, W) in pixels.
        max_covered: Largest fraction of a mask that may be covered.
        size_weight: Exponent of the area; masks are compared by predicted IoU times stability times area to this
            power. Masks that were cut off by the edge of a crop come after all others, so they fill only gaps.

    Returns:
        The selected masks, best first.
    """

    def rank(candidate: C) -> tuple[bool, float]:
        quality = candidate.predicted_iou * candidate.stability
        return candidate.is_cut, -quality * max(candidate.area_px, 1) ** size_weight

    covered = np.zeros(hw, dtype=np.bool_)
    selected = []
    for candidate in sorted(candidates, key=rank):
        mask = candidate.local_mask()
        window = covered[mask.slices]
        if candidate.area_px and np.count_nonzero(window & mask.bitmap) <= max_covered * candidate.area_px:
            window |= mask.bitmap
            selected.append(candidate)
    return selected


def drop_small(candidates: list[C], min_relative_area: float) -> list[C]:
    """Drop masks that are much smaller than the typical one, such as nuclei among glands.

    Args:
        candidates: The masks.
        min_relative_area: Smallest area as a fraction of the typical area; half of the summed area belongs to masks of
            at least the typical area.

    Returns:
        The other masks, in the same order.
    """
    if not candidates or not min_relative_area:
        return candidates
    areas = np.sort([candidate.area_px for candidate in candidates])
    # Weighted by area, few large objects outweigh the many small ones between them.
    typical = areas[np.searchsorted(np.cumsum(areas), areas.sum() / 2, side="right")]
    return [candidate for candidate in candidates if candidate.area_px >= min_relative_area * typical]
