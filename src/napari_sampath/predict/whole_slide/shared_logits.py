"""Logits of the tiles at the borders of blocks."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ...arrays import FloatArray
    from ...geometry import Frame

SHARED_BYTES = 2**27
"""Size of the logits kept for neighbouring blocks: those of 256 tiles of a head with two classes."""


class SharedLogits:
    """Logits of tiles that reach into several blocks, so that one process computes them once.

    Args:
        limit_bytes: Size from which on the least recently used are dropped.
    """

    def __init__(self, limit_bytes: int = SHARED_BYTES) -> None:
        self._limit = limit_bytes
        self._bytes = 0
        self._logits: OrderedDict[Frame, FloatArray] = OrderedDict()

    def get(self, frame: Frame) -> FloatArray | None:
        """Return the logits of a tile, or None."""
        logits = self._logits.get(frame)
        if logits is not None:
            self._logits.move_to_end(frame)
        return logits

    def put(self, frame: Frame, logits: FloatArray) -> None:
        """Keep the logits of a tile."""
        if frame not in self._logits:
            self._logits[frame] = logits
            self._bytes += logits.nbytes
        while self._bytes > self._limit:
            self._bytes -= self._logits.popitem(last=False)[1].nbytes
