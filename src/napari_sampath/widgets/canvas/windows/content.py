"""Class and instance ids of an image, at the resolution of a window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ....annotations import Box
from ....annotations.masks.tiles import TILE_PX
from ....jobs import Job, Progress
from .label_window import LabelWindow

if TYPE_CHECKING:
    from ....annotations import Document
    from ....annotations.masks.tiled_map import LookupMap
    from ....arrays import IntArray, UInt8Array

FEW_BOXES_STEP = 2
"""Step beyond which the tiles of the label maps are so small that all are outlined in one piece."""
STRIP_TILES = 1024
"""Number of tiles of the label maps that are read between two yields of a job."""
PAINTED_TILES = 128
"""Number of tiles that are read at once in the GUI thread; the first summary of a tile takes 0.3 ms."""


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """The values of the label layers for a window."""

    window: LabelWindow
    classes: UInt8Array
    """(h, w) class ids."""
    ids: IntArray
    """(h, w) instance ids."""


class WindowContent:
    """Reads the maps of a document in window pixels.

    Args:
        document: The objects.
        window: Function that returns the window that the layers hold.
    """

    def __init__(self, document: Document, window: Callable[[], LabelWindow]) -> None:
        self._document = document
        self._window = window

    def read(self, part: Box) -> tuple[UInt8Array, IntArray]:
        """Return the class ids and the instance ids (h, w) of a box (r0, c0, r1, c1) of window pixels."""
        return _read(self._document.class_map, self._window(), part)

    def classes(self, part: Box) -> UInt8Array:
        """Return the class ids (h, w) of a box (r0, c0, r1, c1) of window pixels."""
        return self.read(part)[0]

    def ids(self, part: Box) -> IntArray:
        """Return the instance ids (h, w) of a box (r0, c0, r1, c1) of window pixels."""
        return self.read(part)[1]

    def job(self, window: LabelWindow) -> Job[Filled]:
        """Make a job that reads another window as the document is now; it can run in any thread."""
        return _fill(self._document.snapshot()[0], window)

    def filled(self) -> Iterator[Box]:
        """Yield boxes in window pixels that together contain all objects in the window."""
        window = self._window()
        if window.step > FEW_BOXES_STEP:
            yield (0, 0, *window.shape)
            return
        for box in self._document.instance_map.tiles_in([window.box]):
            part = window.part(box)
            if part is not None:
                yield part


def strip_px(window: LabelWindow, tiles: int = PAINTED_TILES) -> int:
    """Return the number of window pixels that cover a number of tiles of the label maps."""
    return max(1, tiles * (TILE_PX // window.step) ** 2)


def _read(labels: LookupMap, window: LabelWindow, part: Box) -> tuple[UInt8Array, IntArray]:
    ids: IntArray = labels.source.read(window.covered(part), window.step)
    classes: UInt8Array = labels.table[ids]
    return classes, ids


def _fill(labels: LookupMap, window: LabelWindow) -> Job[Filled]:
    height, width = window.shape
    classes = np.zeros(window.shape, dtype=np.uint8)
    ids = np.zeros(window.shape, dtype=np.int32)
    rows = max(1, strip_px(window, STRIP_TILES) // width)
    for top in range(0, height, rows):
        yield Progress(top, height, "Reading the annotations in view")
        bottom = min(top + rows, height)
        classes[top:bottom], ids[top:bottom] = _read(labels, window, (top, 0, bottom, width))
    return Filled(window, classes, ids)
