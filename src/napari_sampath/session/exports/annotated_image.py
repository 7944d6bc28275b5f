"""An image of a project with its annotations, as exports read it."""

from __future__ import annotations

import numpy as np

from ...annotations import Box
from ...annotations.model.annotated_object import TRUSTED, UNSURE
from ...arrays import BoolArray, IntArray, UInt8Array
from ..session import Session


class SessionImage:
    """The image of a session with the objects that are exported.

    Objects that are marked as unsure are left out; their pixels count as unverified.

    Args:
        session: The session.
        mpp: Micrometres per pixel, if known.
        reviewed_only: Leave out objects that nobody made, changed or reviewed.
    """

    def __init__(self, session: Session, mpp: float | None, reviewed_only: bool = False) -> None:
        self._session = session
        self.hw = session.hw
        self.is_slide = session.slide is not None
        self.mpp = mpp
        objects = session.document.objects.values()
        self.unsure = sum(obj.trust == UNSURE for obj in objects)
        """Number of objects that are marked as unsure."""
        self.unreviewed = frozenset(obj.id for obj in objects if obj.trust == 0)
        """Numbers of the objects that nobody made, changed or reviewed."""
        allowed = (TRUSTED,) if reviewed_only else (TRUSTED, 0)
        self.areas = {obj.id: obj.area_px for obj in objects if obj.trust in allowed}
        self.classes = {obj.id: obj.class_id for obj in objects if obj.trust in allowed}
        """Number of each exported object -> its class."""
        self._class_of = np.zeros(session.document.next_id, dtype=np.uint8)
        for number, class_id in self.classes.items():
            self._class_of[number] = class_id
        self._is_trusted = np.ones(session.document.next_id, dtype=np.bool_)
        self._is_trusted[[obj.id for obj in objects if obj.trust != TRUSTED]] = False

    def pixels(self, box: Box, step: float) -> UInt8Array:
        """Read (h, w, 3) uint8 RGB: a slide at the step, an image at full resolution."""
        if self._session.slide is not None:
            return self._session.slide.read(box, step)
        r0, c0, r1, c1 = box
        return self._session.image[r0:r1, c0:c1]

    def maps(self, box: Box) -> tuple[UInt8Array, IntArray, BoolArray]:
        """Return class map, instance map and verified area (h, w)."""
        instances = self._session.document.instance_map.window(box)
        classes = self._class_of[instances]
        # In an area that is marked as complete, an unreviewed object is not verified.
        verified = self._session.document.verified(box) & self._is_trusted[instances]
        return classes, np.where(classes > 0, instances, 0), verified
