"""The verified area: the pixels that training learns from; all others are ignored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...annotations import Batch, Box, Document, Flag, Operation, Verify, bounds, clip
from ...arrays import BoolArray, LocalMask
from ...errors import PromptError


class VerifiedArea:
    """Which pixels of a session's image are annotated.

    Verified are the pixels of each object a person made, changed or reviewed (and did not mark as unsure), of
    what they erased, cut off or deleted, and for areas they mark as complete, where what is not an object is known to
    be none.

    Args:
        document: The document.
        do: Does and saves an operation.
    """

    def __init__(self, document: Document, do: Callable[[Operation], None]) -> None:
        self._document = document
        self._do = do

    def mask(self, box: Box | None = None) -> BoolArray:
        """Return the annotated pixels of a box (r0, c0, r1, c1), or of the whole image."""
        return self._document.verified(box or (0, 0, *self._document.hw))

    def mark(self, area: LocalMask | Box, value: bool = True) -> None:
        """Mark an area as annotated to the end, or take such marks back; objects in it stay as they are.

        Raises:
            PromptError: If no pixel of it is in the image.
        """
        self._do(Verify(self._clipped(area), value))

    def complete(self, area: LocalMask | Box) -> tuple[int, ...]:
        """Mark an area as annotated to the end and agree with the objects in it, as one step.

        Returns:
            The objects that count as reviewed from now on: those of which no pixel is outside, unless a person is
            unsure of them.

        Raises:
            PromptError: If no pixel of it is in the image.
        """
        mask = self._clipped(area)
        under = self._document.instance_map.window(bounds(mask))[mask.bitmap]
        ids, counts = np.unique(under[under > 0], return_counts=True)
        agreed = []
        for one, count in zip(ids.tolist(), counts.tolist(), strict=True):
            record = self._document.objects[one]
            if record.area_px == count and not record.reviewed and not record.unsure:
                agreed.append(one)
        steps = (Flag(tuple(agreed), "reviewed", True), Verify(mask))
        self._do(Batch(steps, "the completed area"))
        return tuple(agreed)

    def _clipped(self, area: LocalMask | Box) -> LocalMask:
        if not isinstance(area, LocalMask):
            r0, c0, r1, c1 = area
            area = LocalMask(r0, c0, np.ones((max(0, r1 - r0), max(0, c1 - c0)), dtype=np.bool_))
        mask = clip(area, self._document.hw)
        if not mask.bitmap.any():
            raise PromptError("The area has no pixel in the image; draw it on the image.")
        return mask
