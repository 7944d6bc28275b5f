"""The verified area: the pixels that training uses."""

from __future__ import annotations

from collections.abc import Callable

from ...annotations import Batch, Box, Document, Flag, Operation, Verify, clip
from ...annotations.masks.steps import mask_of_box
from ...arrays import BoolArray, LocalMask
from ...errors import PromptError


class VerifiedArea:
    """The pixels of an image whose labels a person has confirmed.

    The verified area contains objects that a person created, edited or reviewed, except those marked as unsure; erased
    and deleted pixels; and areas marked as complete, in which all pixels outside objects are background.

    Args:
        document: The document.
        do: Performs and saves an operation.
    """

    def __init__(self, document: Document, do: Callable[[Operation], None]) -> None:
        self._document = document
        self._do = do

    def mask(self, box: Box | None = None) -> BoolArray:
        """Return the mask of the verified pixels of a box (r0, c0, r1, c1), or of the whole image."""
        return self._document.verified(box or (0, 0, *self._document.hw))

    def mark(self, area: LocalMask | Box, value: bool = True) -> None:
        """Mark an area as complete, or remove the mark; objects in it do not change.

        Raises:
            PromptError: If the area has no pixels in the image.
        """
        self._do(Verify(self._clipped(area), value))

    def complete(self, area: LocalMask | Box) -> tuple[int, ...]:
        """Mark an area as complete and the objects in it as reviewed, as one undo step.

        Returns:
            Ids of the newly reviewed objects: those that lie completely in the area and are not marked as unsure.

        Raises:
            PromptError: If the area has no pixels in the image.
        """
        mask = self._clipped(area)
        counts = sorted(self._document.counts_under(mask).items())
        inside = [(self._document.objects[object_id], count) for object_id, count in counts]
        reviewed = tuple(
            obj.id for obj, count in inside if obj.area_px == count and not obj.reviewed and not obj.unsure
        )
        self._do(Batch((Flag(reviewed, "reviewed", True), Verify(mask)), "the change to the verified area"))
        return reviewed

    def _clipped(self, area: LocalMask | Box) -> LocalMask:
        if not isinstance(area, LocalMask):
            area = mask_of_box(area)
        mask = clip(area, self._document.hw)
        if not mask.bitmap.any():
            raise PromptError("The area has no pixels in the image; draw it on the image.")
        return mask
