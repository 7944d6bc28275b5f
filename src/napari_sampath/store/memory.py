"""Memory tier of the store: features of this process, on the device that computed them."""

from __future__ import annotations

import threading
from collections import OrderedDict

from torch import Tensor

from .base import FeatureKey, Maps, StoreTier, TierInfo


class MemoryTier(StoreTier):
    """LRU cache of tiles in memory; tensors keep their type and device.

    Args:
        limit_bytes: Size limit of all tensors on all devices, in bytes.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._entries: OrderedDict[FeatureKey, dict[str, Tensor]] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def get(self, key: FeatureKey) -> dict[str, Tensor] | None:
        """Return the stored tensors without copying, or None if they are not cached."""
        with self._lock:
            maps = self._entries.get(key)
            if maps is None:
                return None
            self._entries.move_to_end(key)
            return dict(maps)

    def put(self, key: FeatureKey, maps: Maps) -> None:
        """Store maps; a view of a larger tensor (a batch) is copied, so that the batch can be freed."""
        owned = {name: _own(tensor) for name, tensor in maps.items()}
        size = _size_bytes(owned)
        with self._lock:
            self._drop(key)
            if size > self.limit_bytes:
                return
            self._entries[key] = owned
            self._size_bytes += size
            while self._size_bytes > self.limit_bytes:
                self._drop(next(iter(self._entries)))

    def discard(self, key: FeatureKey) -> None:
        """Delete the maps of `key` if they are cached."""
        with self._lock:
            self._drop(key)

    def clear(self) -> int:
        """Delete all entries and return their number."""
        with self._lock:
            count = len(self._entries)
            self._entries.clear()
            self._size_bytes = 0
            return count

    def info(self) -> TierInfo:
        """Return the number and total size of the entries."""
        with self._lock:
            return TierInfo(len(self._entries), self._size_bytes, self.limit_bytes, "memory")

    def _drop(self, key: FeatureKey) -> None:
        maps = self._entries.pop(key, None)
        if maps is not None:
            self._size_bytes -= _size_bytes(maps)


def _own(tensor: Tensor) -> Tensor:
    tensor = tensor.detach()
    return tensor.clone() if tensor.untyped_storage().nbytes() > tensor.nbytes else tensor


def _size_bytes(maps: Maps) -> int:
    return sum(tensor.nbytes for tensor in maps.values())
