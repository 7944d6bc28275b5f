"""The tiles of one image that one model has encoded: each once, whichever thread asks first."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...arrays import Features, UInt8Array
from ...geometry import Frame
from ...jobs import Job, Progress

if TYPE_CHECKING:
    from ...predict import Model

QUICK_S = 3.0
"""Tiles that nobody waits for are encoded where none takes longer."""
MAX_TILES = 32
"""Tiles kept at hand, about 16 MB each with ViT-B; others come from the model's store or are encoded again."""


class TileFeatures:
    """Features by tile, made on demand. Any thread may call.

    Args:
        model: The model that encodes.
        image: (H, W, 3) uint8; not changed while in use.
        max_tiles: Tiles kept; the least recently used go first.
    """

    def __init__(self, model: Model, image: UInt8Array, max_tiles: int = MAX_TILES) -> None:
        self.model = model
        self._image = image
        self._max_tiles = max_tiles
        self._encoded: OrderedDict[Frame, Features] = OrderedDict()
        self._busy: dict[Frame, threading.Lock] = {}
        self._lock = threading.Lock()
        self._longest_s = 0.0

    def holds(self, frame: Frame) -> bool:
        """Say whether a tile is encoded and at hand."""
        with self._lock:
            return frame in self._encoded

    def get(self, frame: Frame) -> Features:
        """Return the features of a tile, encoding it if that has not been done; slow then.

        Raises:
            SampathError: As `Model.encode`.
        """
        with self._lock:
            busy = self._busy.setdefault(frame, threading.Lock())
        # Two threads that want one tile: the second waits for the first and finds it done.
        with busy:
            with self._lock:
                known = self._encoded.get(frame)
                if known is not None:
                    self._encoded.move_to_end(frame)
                    return known
            begun = time.monotonic()
            features = self.model.encode(self._image, frame)
            with self._lock:
                self._longest_s = max(self._longest_s, time.monotonic() - begun)
                self._encoded[frame] = features
                while len(self._encoded) > self._max_tiles:
                    oldest, _ = self._encoded.popitem(last=False)
                    self._busy.pop(oldest, None)
            return features

    @property
    def quick(self) -> bool:
        """False if a tile took longer than `QUICK_S`."""
        return self._longest_s <= QUICK_S

    def encode_job(self, frames: Sequence[Frame], extra: Sequence[Frame] = ()) -> Job[int]:
        """Make a job that encodes tiles, in order, and extra ones while that is `quick`; its result is their number."""
        total = len(frames) + len(extra)
        for done, frame in enumerate([*frames, *extra]):
            if done >= len(frames) and not self.quick:
                return done
            yield Progress(done, total, "Encoding the image", "tiles")
            self.get(frame)
        yield Progress(total, total, "Encoding the image", "tiles")
        return total
