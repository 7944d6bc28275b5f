"""Features of the tiles on which the objects of a slide are outlined."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...store import MemoryTier, Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...store import DiskTier
    from ..model import Model

_SHARED_BYTES = 2**27
"""Size of the features kept in memory for neighbouring blocks: those of about 60 tiles."""
_CELLS = 64 * 64
"""Cells of a feature map."""


class PromptFeatures:
    """Where the features of the tiles are kept on which the objects of a slide are outlined.

    They are kept on disk if they fit into half of the limit of the cache; otherwise, they would displace each other
    before they are used again. Some are always kept in memory for the next block.
    """

    def __init__(self) -> None:
        self._stores: list[Store | None] = []

    def store(self, model: Model, count_tiles: Callable[[], int]) -> Store | None:
        """Return the store for a run; None if its model has none.

        Args:
            model: The model of the run.
            count_tiles: Returns the number of tiles of the whole slide.
        """
        if not self._stores:
            self._stores.append(
                None if model.store is None else _store(model, model.store.disk, count_tiles())
            )
        return self._stores[0]


def _store(model: Model, disk: DiskTier | None, tiles: int) -> Store:
    tile_bytes = 2 * _CELLS * sum(feature.channels for feature in model.maps)
    fits = disk is not None and tiles * tile_bytes <= disk.limit_bytes / 2
    return Store(MemoryTier(_SHARED_BYTES), disk if fits else None)
