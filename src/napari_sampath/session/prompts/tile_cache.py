"""Cache of the features of an image's tiles; the first thread that needs a tile encodes it."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...arrays import Features, UInt8Array
from ...geometry import Frame
from ...images.slides import Slide
from ...jobs import Job, Progress
from ...tiling import nearest_first, prompt_tiles, slide_tiles_for, step_of

if TYPE_CHECKING:
    from ...predict import Model

QUICK_S = 3.0
"""Maximum time per tile, in seconds, for which high-resolution tiles are encoded in advance."""
MAX_TILES = 32
"""Number of tiles kept in memory, about 16 MB each with ViT-B; others are read from the store or encoded again."""
AHEAD_TILES = 4
"""Number of tiles of a large image that are encoded before the first click."""


class TileFeatures:
    """Thread-safe cache of tile features, encoded on demand.

    Args:
        model: Model that encodes the tiles.
        image: (H, W, 3) uint8, or a slide; must not change.
        max_tiles: Maximum number of tiles in memory; the least recently used are dropped first.
    """

    def __init__(self, model: Model, image: UInt8Array | Slide, max_tiles: int = MAX_TILES) -> None:
        self.model = model
        self.image = image
        self._max_tiles = max_tiles
        self._encoded: OrderedDict[Frame, Features] = OrderedDict()
        self._busy: dict[Frame, threading.Lock] = {}
        self._lock = threading.Lock()
        self._longest_s = 0.0

    def holds(self, frame: Frame) -> bool:
        """Return True if the features of a tile are in memory."""
        with self._lock:
            return frame in self._encoded

    def get(self, frame: Frame) -> Features:
        """Return the features of a tile, encoding it unless it is in memory.

        Raises:
            SampathError: As `Model.encode`.
        """
        with self._lock:
            busy = self._busy.setdefault(frame, threading.Lock())
        # If two threads request the same tile, the second waits for the first and then finds it encoded.
        with busy:
            with self._lock:
                features = self._encoded.get(frame)
                if features is not None:
                    self._encoded.move_to_end(frame)
                    return features
            start = time.monotonic()
            features = self.model.encode(self.image, frame)
            with self._lock:
                self._longest_s = max(self._longest_s, time.monotonic() - start)
                self._encoded[frame] = features
                while len(self._encoded) > self._max_tiles:
                    oldest, _ = self._encoded.popitem(last=False)
                    self._busy.pop(oldest, None)
            return features

    def step_of(self, frame: Frame) -> int:
        """Return the step of the masks on a tile: 1 for images, and for slides that at which the tile is read."""
        return step_of(frame) if isinstance(self.image, Slide) else 1

    @property
    def quick(self) -> bool:
        """False if encoding a tile has ever taken longer than `QUICK_S`."""
        return self._longest_s <= QUICK_S

    def encode_job(self, frames: Sequence[Frame], extra: Sequence[Frame] = ()) -> Job[int]:
        """Make a job that encodes `frames`, then `extra` while encoding is `quick`; its result is the tile count."""
        total = len(frames) + len(extra)
        for done, frame in enumerate([*frames, *extra]):
            if done >= len(frames) and not self.quick:
                return done
            yield Progress(done, total, "Encoding the image", "tiles")
            self.get(frame)
        yield Progress(total, total, "Encoding the image", "tiles")
        return total

    def encode_ahead_job(
        self, centre_rc: tuple[float, float] | None = None, ahead: int = AHEAD_TILES
    ) -> Job[int]:
        """Make a job that encodes the tiles nearest to a position, where the first clicks are expected.

        Args:
            centre_rc: (row, col) in image pixels; defaults to the middle of the image.
            ahead: Maximum number of tiles.

        Returns:
            The job; its result is the number of tiles.
        """
        height, width = self.image.shape[:2]
        centre = centre_rc or (height / 2, width / 2)
        if isinstance(self.image, Slide):
            row, col = (min(int(at), side) for at, side in zip(centre, (height, width), strict=True))
            return self.encode_job(slide_tiles_for((height, width), (row, col, row, col)))
        return self.encode_job(nearest_first(prompt_tiles((height, width)), centre)[:ahead])
