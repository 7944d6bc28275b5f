"""Paints a large part of a picture strip by strip, between which the window lives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...annotations import Box

STRIP_PX = 1 << 20
"""Pixels of a strip: 20 ms each."""


class ChunkedPainter:
    """Boxes to paint; one of up to a strip is painted at once, larger ones a strip each turn of the window.

    Args:
        paint: Paints a box (r0, c0, r1, c1).
    """

    def __init__(self, paint: Callable[[Box], object]) -> None:
        self._paint = paint
        self._waiting: list[Box] = []
        self._turns = QTimer()
        self._turns.setInterval(0)
        self._turns.timeout.connect(self._paint_next)

    def add(self, box: Box) -> None:
        """Paint a box, now or in strips."""
        r0, c0, r1, c1 = box
        rows = max(1, STRIP_PX // max(1, c1 - c0))
        if r1 - r0 <= rows:
            self._paint(box)
            return
        self._waiting += [(top, c0, min(top + rows, r1), c1) for top in range(r0, r1, rows)]
        self._turns.start()

    def finish(self) -> None:
        """Paint all that waits."""
        while self._waiting:
            self._paint_next()

    def drop(self) -> None:
        """Forget what waits."""
        self._waiting.clear()
        self._turns.stop()

    def _paint_next(self) -> None:
        if self._waiting:
            self._paint(self._waiting.pop(0))
        if not self._waiting:
            self._turns.stop()
