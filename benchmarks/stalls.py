"""Longest time that the Qt event loop is blocked."""

from __future__ import annotations

import time

from qtpy.QtCore import QObject, Qt, QTimer

TICK_MS = 5


class StallMeter(QObject):
    """Measures the longest time between two timer events of the Qt event loop, from creation until `stop`."""

    def __init__(self) -> None:
        super().__init__()
        self._longest = 0.0
        self._last = time.perf_counter()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._timer.start(TICK_MS)

    def stop(self) -> float:
        """Stop and return the longest stall in seconds."""
        self._tick()
        self._timer.stop()
        return self._longest

    def _tick(self) -> None:
        now = time.perf_counter()
        self._longest = max(self._longest, now - self._last - TICK_MS / 1000)
        self._last = now
