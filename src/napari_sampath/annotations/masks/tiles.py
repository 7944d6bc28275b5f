"""Tiles of a label map: one value, packed, or open for writing; and their coarse copies, called summaries."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import imagecodecs
import numpy as np
import numpy.typing as npt

from .tile_store import Stored, TileStore

TILE_PX = 256
"""Side of a tile in pixels."""
MAX_STEP = TILE_PX
"""Coarsest step at which a map can be read: one cell for each tile."""
LABELLED_SHARE = 8
"""A cell of a summary shows a label if at least one of this many pixels is labelled, so that nuclei stay visible."""

_LEVEL = 1
"""Compression level of zstd: the fastest; fields of nuclei shrink to less than one eightieth."""
_ROUGH = 5
"""Summaries whose cells have a side of at least 2**5 pixels are kept unpacked."""
_FINE_PX = sum((TILE_PX >> level) ** 2 for level in range(2, _ROUGH))
"""Number of cells of the summaries of a tile that are stored packed."""
_CACHED = 12
"""Number of unpacked tiles that are kept for the next read: 3 MiB of int32."""
_CACHED_FINE = 64
"""Number of unpacked summaries that are kept for the next read: 1.4 MiB of int32."""

TileArray: TypeAlias = npt.NDArray[Any]


class Packed:
    """A tile that is stored compressed; immutable, so that maps and undo steps can share it.

    Args:
        tile: (256, 256) values.
        store: Keeps the compressed values.
    """

    __slots__ = ("_fine", "_rough", "_store", "dtype", "values")

    def __init__(self, tile: TileArray, store: TileStore) -> None:
        self.dtype = tile.dtype
        self._store = store
        self.values = store.add(_compress(tile))
        """The compressed (256, 256) values."""
        self._fine: Stored | None = None
        self._rough: tuple[TileArray, ...] = ()

    @property
    def nbytes(self) -> int:
        """Size in bytes, in memory or in the file of the store."""
        # Equal in both cases, because the undo history of a journal must not depend on the memory of this computer.
        fine = 0 if self._fine is None else self._fine.nbytes
        return self.values.nbytes + fine + sum(part.nbytes for part in self._rough)

    def unpack(self) -> TileArray:
        """Return the (256, 256) values, read-only."""
        return _unpacked(self)

    def summary(self, step: int) -> TileArray:
        """Return the summary (256 / step, 256 / step), read-only; computed at the first call."""
        level = step.bit_length() - 1
        if level == 1:
            return summaries(self.unpack(), 1)[-1]
        if self._fine is None:
            levels = summaries(self.unpack())
            # Other threads may do the same; the results are equal.
            self._rough = tuple(levels[_ROUGH - 1 :])
            fine = np.concatenate([part.ravel() for part in levels[1 : _ROUGH - 1]])
            self._fine = self._store.add(_compress(fine))
        if level >= _ROUGH:
            return self._rough[level - _ROUGH]
        sides = [TILE_PX >> k for k in range(2, _ROUGH)]
        start = sum(side**2 for side in sides[: level - 2])
        side = TILE_PX // step
        return _fine_of(self)[start : start + side**2].reshape(side, side)


Tile: TypeAlias = "int | Packed | TileArray"
"""One value in all pixels, a packed tile, or a (256, 256) array."""


def packed(tile: TileArray, store: TileStore) -> Tile:
    """Return the smallest form of a (256, 256) tile: its value if it is uniform, else a packed tile."""
    first = tile[0, 0]
    return int(first) if (tile == first).all() else Packed(tile, store)


def closed(tile: Tile, store: TileStore) -> Tile:
    """Return a tile that no write changes: an open tile is packed."""
    return packed(tile, store) if isinstance(tile, np.ndarray) else tile


def same_pixels(first: Tile, second: Tile) -> bool:
    """Return whether two tiles have the same pixels."""
    if equal(first, second):
        return True
    return bool(np.all(pixels_of(first) == pixels_of(second)))


def pixels_of(tile: Tile) -> int | TileArray:
    """Return the value of a uniform tile, or the (256, 256) values of any other tile, which must not be changed."""
    return tile.unpack() if isinstance(tile, Packed) else tile


def opened(tile: Tile, dtype: np.dtype[Any]) -> TileArray:
    """Return a new (256, 256) array with the values of a tile."""
    values = pixels_of(tile)
    return np.full((TILE_PX, TILE_PX), values, dtype) if isinstance(values, int) else values.copy()


def summary_of(tile: Tile, step: int) -> int | TileArray:
    """Return a tile at a coarser step, see `summaries`; the value of a uniform tile."""
    if isinstance(tile, int):
        return tile
    if step == 1:
        return pixels_of(tile)
    return tile.summary(step) if isinstance(tile, Packed) else summaries(tile, step.bit_length() - 1)[-1]


def size_of(tile: Tile) -> int:
    """Return the size of a tile in bytes, without the Python objects around it; see `Packed.nbytes`."""
    return 0 if isinstance(tile, int) else tile.nbytes


def equal(first: Tile | None, second: Tile | None) -> bool:
    """Return whether two tiles are known to be equal without comparing their pixels."""
    if isinstance(first, int) and isinstance(second, int):
        return first == second
    return first is second


def summaries(tile: TileArray, levels: int = 8) -> list[TileArray]:
    """Reduce a tile to 1/2, 1/4, 1/8 ... of its side.

    A cell is labelled if at least 1/8 of its pixels are labelled (not 0). Its value is that of a large part of them:
    neighbours are merged pairwise, and of two values the one with more pixels remains. That is a tournament instead of
    a count of all values, which needs no sorting and no list of the objects in a tile.

    Args:
        tile: (S, S) values, S a power of two.
        levels: Number of summaries.

    Returns:
        (S / 2, S / 2), (S / 4, S / 4) ... of the same type.
    """
    values, share = tile, (tile != 0).astype(np.int32)
    labelled = share
    result: list[TileArray] = []
    for level in range(1, levels + 1):
        for axis in (1, 0):
            # Merge neighbours: equal values add up, and of different ones the larger share remains.
            halves = (np.s_[::2], np.s_[1::2]) if axis == 0 else (np.s_[:, ::2], np.s_[:, 1::2])
            (a, b), (n, m) = (values[half] for half in halves), (share[half] for half in halves)
            values = np.where(m > n, b, a)
            share = np.where(a == b, n + m, np.maximum(n, m))
            labelled = labelled[halves[0]] + labelled[halves[1]]
        result.append(np.where(labelled * LABELLED_SHARE >= 4**level, values, tile.dtype.type(0)))
    return result


def _compress(values: TileArray) -> bytes:
    return bytes(imagecodecs.zstd_encode(values.tobytes(), _LEVEL))


def _decompress(data: bytes, dtype: np.dtype[Any]) -> TileArray:
    values: TileArray = np.frombuffer(imagecodecs.zstd_decode(data), dtype=dtype)
    values.flags.writeable = False
    return values


@lru_cache(maxsize=_CACHED)
def _unpacked(tile: Packed) -> TileArray:
    return _decompress(tile.values.read(), tile.dtype).reshape(TILE_PX, TILE_PX)


@lru_cache(maxsize=_CACHED_FINE)
def _fine_of(tile: Packed) -> TileArray:
    return _decompress(tile._fine.read() if tile._fine is not None else b"", tile.dtype)


def cached_bytes() -> int:
    """Return the largest memory in bytes of the unpacked tiles and summaries that are kept for the next read."""
    return (_unpacked.cache_info().currsize * TILE_PX**2 + _fine_of.cache_info().currsize * _FINE_PX) * 4


def forget_unpacked() -> None:
    """Drop the unpacked tiles and summaries that are kept for the next read, which keep their store alive."""
    _unpacked.cache_clear()
    _fine_of.cache_clear()
