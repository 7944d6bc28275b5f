"""Class and instance ids of an image, at the resolution of a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from ....annotations import Box

if TYPE_CHECKING:
    from ....annotations import Document
    from ....annotations.masks.map_view import MapView
    from ....arrays import IntArray
    from .label_window import LabelWindow

FEW_BOXES_STEP = 2
"""Step beyond which the tiles of the label maps are so small that all are outlined in one piece."""


class WindowContent:
    """Reads the maps of a document in window pixels.

    Args:
        document: The objects.
        window: Function that returns the window.
    """

    def __init__(self, document: Document, window: Callable[[], LabelWindow]) -> None:
        self._document = document
        self._window = window

    def classes(self, part: Box) -> IntArray:
        """Return the class ids (h, w) of a box (r0, c0, r1, c1) of window pixels."""
        return self._read(self._document.class_map, part)

    def ids(self, part: Box) -> IntArray:
        """Return the instance ids (h, w) of a box (r0, c0, r1, c1) of window pixels."""
        return self._read(self._document.instance_map, part)

    def filled(self) -> Iterator[Box]:
        """Yield boxes in window pixels that together contain all objects in the window."""
        window = self._window()
        if window.step > FEW_BOXES_STEP:
            yield (0, 0, *window.shape)
            return
        for box in self._document.instance_map.filled_boxes():
            part = window.part(box)
            if part is not None:
                yield part

    def _read(self, labels: MapView, part: Box) -> IntArray:
        window = self._window()
        values: IntArray = labels.read(window.covered(part), window.step)
        return values
