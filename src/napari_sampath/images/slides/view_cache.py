"""Arrays of a slide for display that never wait for the file.

A window is composed of what is in memory: chunks of the level that is asked for, and where they are missing the next
coarser ones, enlarged. Missing chunks are read by threads, the newest request first, and `on_arrival` is called. The
coarsest level is read first of all and then stays in memory; until then, it is white.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ...arrays import UInt8Array
from ...errors import ImageError
from .indexing import read_index

logger = logging.getLogger(__name__)

CHUNK_PX = 512
"""Side of a chunk in pixels of its level."""
COARSEST_PX = 2048
"""Longest side of the coarsest level, which is always in memory."""
_LIMIT_BYTES = 128 * 2**20
_THREADS = 4
_MAX_WANTED = 512
"""Requests that are kept; older ones belong to views that were left."""

Chunk = tuple[int, int, int]
"""(level, row, column) of a chunk; rows and columns count chunks of `CHUNK_PX`."""


class Source(Protocol):
    """What a `ViewCache` reads: a slide, or a map of its size."""

    @property
    def hw(self) -> tuple[int, int]:
        """Size (H, W) in pixels."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(H, W, 3) of a slide, (H, W) of a map."""

    def read(self, box: tuple[int, int, int, int], step: int) -> UInt8Array:
        """Read one pixel for each `step` x `step` pixels of a box; see `Slide.read`."""

    def close(self) -> None:
        """Close the file."""


class ViewCache:
    """Levels of a slide, or of a map of its size, as arrays that answer at once.

    Level k has one pixel for each 2**k x 2**k level-0 pixels, independent of the levels that the file stores. Creating
    the cache reads no pixels.

    Args:
        slide: The slide or map; it is closed with the cache. Slides are white and maps 0 until they are read.
        on_arrival: Called from a reading thread with a chunk that has been read.
        on_failure: Called from a reading thread with a sentence when a chunk cannot be read, once in a slide.
        limit_bytes: Memory for chunks, beside the coarsest level.
        min_levels: Smallest number of levels; napari takes a single one for an ordinary array.

    Attributes:
        levels: The arrays, the finest first.
        failure: The sentence for which `on_failure` was called; empty if all chunks could be read.
    """

    def __init__(
        self,
        slide: Source,
        on_arrival: Callable[[Chunk], None] = lambda _: None,
        on_failure: Callable[[str], None] = lambda _: None,
        limit_bytes: int = _LIMIT_BYTES,
        min_levels: int = 1,
    ) -> None:
        self.slide = slide
        self.on_arrival = on_arrival
        self.on_failure = on_failure
        self.failure = ""
        self._limit_bytes = limit_bytes
        count = min_levels
        while -(-max(slide.hw) >> (count - 1)) > COARSEST_PX:
            count += 1
        self.levels = tuple(LevelView(self, number) for number in range(count))
        height, width = self.levels[-1].shape[:2]
        # napari keeps this array for the thumbnail, so it is filled in place.
        self._coarsest = np.full(self.levels[-1].shape, 255 if len(slide.shape) == 3 else 0, np.uint8)
        self._first = deque(
            (count - 1, row, col)
            for row in range(-(-height // CHUNK_PX))
            for col in range(-(-width // CHUNK_PX))
        )
        self._chunks: OrderedDict[Chunk, UInt8Array] = OrderedDict()
        self._size_bytes = 0
        self._wanted: OrderedDict[Chunk, None] = OrderedDict()
        self._reading: set[Chunk] = set()
        self._failed: set[Chunk] = set()
        self._stale: set[Chunk] = set()
        """Chunks whose content changed while they were being read."""
        self._closed = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"slide-{number}", daemon=True)
            for number in range(_THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def window(self, level: int, r0: int, c0: int, r1: int, c1: int) -> UInt8Array:
        """Compose a window (r1 - r0, c1 - c0, ...) of a level from what is in memory, and request what is missing."""
        if level == len(self.levels) - 1:
            return self._coarsest[r0:r1, c0:c1]
        result = np.empty((r1 - r0, c1 - c0, *self.slide.shape[2:]), np.uint8)
        missing = []
        for row in range(r0 // CHUNK_PX, -(-r1 // CHUNK_PX)):
            for col in range(c0 // CHUNK_PX, -(-c1 // CHUNK_PX)):
                top, left = row * CHUNK_PX, col * CHUNK_PX
                y0, x0 = max(r0, top), max(c0, left)
                y1, x1 = min(r1, top + CHUNK_PX), min(c1, left + CHUNK_PX)
                target = result[y0 - r0 : y1 - r0, x0 - c0 : x1 - c0]
                chunk = self._cached((level, row, col))
                if chunk is None:
                    missing.append((level, row, col))
                    self._enlarge(level, y0, x0, target)
                else:
                    target[...] = chunk[y0 - top : y1 - top, x0 - left : x1 - left]
        self._request(missing)
        return result

    def _cached(self, key: Chunk) -> UInt8Array | None:
        with self._changed:
            chunk = self._chunks.get(key)
            if chunk is not None:
                self._chunks.move_to_end(key)
            return chunk

    def _enlarge(self, level: int, top: int, left: int, target: UInt8Array) -> None:
        """Fill a part of one chunk from the finest coarser chunk in memory; its pixels are repeated."""
        coarsest = len(self.levels) - 1
        for coarser in range(level + 1, coarsest + 1):
            shift = coarser - level
            first_row, first_col = top >> shift, left >> shift
            if coarser == coarsest:
                source, origin = self._coarsest, (0, 0)
            else:
                row, col = first_row // CHUNK_PX, first_col // CHUNK_PX
                chunk = self._cached((coarser, row, col))
                if chunk is None:
                    continue
                source, origin = chunk, (row * CHUNK_PX, col * CHUNK_PX)
            last_row, last_col = (top + target.shape[0] - 1) >> shift, (left + target.shape[1] - 1) >> shift
            rows = slice(first_row - origin[0], last_row + 1 - origin[0])
            cols = slice(first_col - origin[1], last_col + 1 - origin[1])
            # Pillow repeats pixels several times as fast as numpy, and this runs in the GUI thread.
            small = Image.fromarray(np.ascontiguousarray(source[rows, cols]))
            large = np.asarray(
                small.resize((small.width << shift, small.height << shift), Image.Resampling.NEAREST)
            )
            r0, c0 = top - (first_row << shift), left - (first_col << shift)
            target[...] = large[r0 : r0 + target.shape[0], c0 : c0 + target.shape[1]]
            return

    def _want(self, key: Chunk) -> None:
        self._wanted[key] = None
        self._wanted.move_to_end(key)

    def _request(self, keys: list[Chunk]) -> None:
        with self._changed:
            for key in keys:
                if key not in self._reading and key not in self._failed:
                    self._want(key)
            while len(self._wanted) > _MAX_WANTED:
                self._wanted.popitem(last=False)
            self._changed.notify_all()

    def _work(self) -> None:
        while (key := self._next()) is not None:
            chunk = self._read(key)
            if self._keep(key, chunk):
                self.on_arrival(key)

    def _next(self) -> Chunk | None:
        """Wait for a request and return a chunk of the coarsest level or the newest; None if the cache was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._first or self._wanted or self._closed)
            if self._closed:
                return None
            key = self._first.popleft() if self._first else self._wanted.popitem()[0]
            self._reading.add(key)
            return key

    def _keep(self, key: Chunk, chunk: UInt8Array | None) -> bool:
        """Keep a chunk in memory, and drop those that were not used for longest; False if it could not be read."""
        with self._changed:
            self._reading.discard(key)
            if key in self._stale:
                self._stale.discard(key)
                (self._first.append if key[0] == len(self.levels) - 1 else self._want)(key)
                self._changed.notify_all()
            if chunk is None:
                self._failed.add(key)
                return False
            level, row, col = key
            if level == len(self.levels) - 1:
                top, left = row * CHUNK_PX, col * CHUNK_PX
                self._coarsest[top : top + chunk.shape[0], left : left + chunk.shape[1]] = chunk
                return not self._closed
            self._chunks[key] = chunk
            self._size_bytes += chunk.nbytes
            while self._size_bytes > self._limit_bytes:
                _, oldest = self._chunks.popitem(last=False)
                self._size_bytes -= oldest.nbytes
            return not self._closed

    def _read(self, key: Chunk) -> UInt8Array | None:
        level, row, col = key
        step = 2**level
        r0, c0 = row * CHUNK_PX * step, col * CHUNK_PX * step
        r1, c1 = min(r0 + CHUNK_PX * step, self.slide.hw[0]), min(c0 + CHUNK_PX * step, self.slide.hw[1])
        try:
            return self.slide.read((r0, c0, r1, c1), step)
        except ImageError as error:
            if not self._failed:
                self.failure = f"{error} What was read already stays on screen."
                logger.warning("%s", self.failure)
                self.on_failure(self.failure)
            return None

    def forget(self, box: tuple[int, int, int, int]) -> None:
        """Read the chunks of a box (r0, c0, r1, c1) of level 0 again, because its content has changed.

        Chunks that are being read at this moment are read once more.
        """
        coarsest = len(self.levels) - 1
        with self._changed:
            for level, view in enumerate(self.levels):
                side = CHUNK_PX << level
                for row in range(box[0] // side, min(-(-box[2] // side), -(-view.shape[0] // CHUNK_PX))):
                    for col in range(box[1] // side, min(-(-box[3] // side), -(-view.shape[1] // CHUNK_PX))):
                        key = level, row, col
                        self._failed.discard(key)
                        old = self._chunks.pop(key, None)
                        self._size_bytes -= 0 if old is None else old.nbytes
                        if key in self._reading:
                            self._stale.add(key)
                        if level == coarsest and key not in self._first:
                            self._first.append(key)
                        elif old is not None:
                            self._wanted[key] = None
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """Number of chunks that are requested or being read."""
        with self._changed:
            return len(self._first) + len(self._wanted) + len(self._reading)

    def close(self) -> None:
        """Stop the threads and close the slide."""
        with self._changed:
            self._closed = True
            self._first.clear()
            self._wanted.clear()
            self._chunks.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=2)
        self.slide.close()


class LevelView:
    """One level of a `ViewCache` as an array of shape (h, w, 3) or (h, w); slicing returns at once."""

    dtype = np.dtype(np.uint8)

    def __init__(self, cache: ViewCache, number: int) -> None:
        self.cache = cache
        self._number = number
        height, width = (-(-length >> number) for length in cache.slide.hw)
        self.shape = (height, width, *cache.slide.shape[2:])
        self.ndim = len(self.shape)
        self.chunks = (CHUNK_PX, CHUNK_PX, *cache.slide.shape[2:])
        """Size of a chunk; napari asks for whole chunks, and for no others while the view moves inside them."""

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> UInt8Array:
        hw = self.shape[0], self.shape[1]
        if self.ndim == 3:
            return read_index(key, hw, lambda box: self.cache.window(self._number, *box))
        values = read_index(key, hw, lambda box: self.cache.window(self._number, *box)[..., None])
        return values[..., 0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.asarray(self[:], dtype=dtype)
