"""Paint large boxes in strips, for a few milliseconds per iteration of the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable

from qtpy.QtCore import QTimer

from ...annotations import Box

STRIP_PX = 1 << 18
"""Number of pixels in a strip; painting it takes 5 ms, or 20 ms if it shows a thousand outlines."""

SLICE_S = 0.015
"""Seconds after which no further strip is painted in this iteration of the event loop."""


class ChunkedPainter:
    """Paints small boxes at once and boxes larger than a strip in strips.

    Args:
        paint: Paints a box (r0, c0, r1, c1).
        most_px: Returns the largest number of pixels to paint at once, at most `STRIP_PX`, the default.
    """

    def __init__(self, paint: Callable[[Box], object], most_px: Callable[[], int] = lambda: STRIP_PX) -> None:
        self._paint = paint
        self._most_px = most_px
        self._waiting: list[Box] = []
        self._timer = QTimer()
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._paint_next)

    def add(self, box: Box) -> None:
        """Paint a box, at once or in strips."""
        r0, c0, r1, c1 = box
        rows = max(1, min(STRIP_PX, self._most_px()) // max(1, c1 - c0))
        if r1 - r0 <= rows:
            self._paint(box)
            return
        self._waiting += [(top, c0, min(top + rows, r1), c1) for top in range(r0, r1, rows)]
        self._timer.start()

    def finish(self) -> None:
        """Paint all waiting strips now."""
        while self._waiting:
            self._paint(self._waiting.pop(0))
        self._timer.stop()

    def drop(self) -> None:
        """Discard the waiting strips."""
        self._waiting.clear()
        self._timer.stop()

    def _paint_next(self) -> None:
        end = time.perf_counter() + SLICE_S
        while self._waiting and time.perf_counter() < end:
            self._paint(self._waiting.pop(0))
        if not self._waiting:
            self._timer.stop()
