"""Store of features: a memory tier in front of a disk tier."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import jobs
from ..config import Config
from .base import FeatureKey, Maps, TierInfo
from .disk import DiskTier, Verification
from .memory import MemoryTier

logger = logging.getLogger(__name__)

DEFAULT_MEMORY_BYTES = 2**30
"""Default size limit of the memory tier; holds the embeddings of about 500 tiles."""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Content of a store."""

    memory: TierInfo
    """The memory tier of this process."""
    disk: TierInfo | None
    """The disk tier; None if it is switched off."""


class Store:
    """Content-addressed cache of features in memory and on disk.

    Both tiers store float16 (relative rounding error 5e-4), and `put` returns the rounded maps, so that results do not
    change when the image is reopened.

    Args:
        memory: The memory tier.
        disk: The disk tier; None to cache in memory only.
    """

    def __init__(self, memory: MemoryTier, disk: DiskTier | None = None) -> None:
        self.memory = memory
        self.disk = disk
        self._disk_writable = True
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, config: Config, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> Store:
        """Build a store from the configuration.

        Args:
            config: Folder and size limit of the disk tier; a limit of 0 switches it off.
            memory_bytes: Size limit of the memory tier in bytes.
        """
        disk = (
            DiskTier(config.features_dir, config.cache_limit_bytes) if config.cache_limit_bytes > 0 else None
        )
        return cls(MemoryTier(memory_bytes), disk)

    def on_disk(self) -> Store:
        """Return a store with the same disk tier that keeps nothing in memory."""
        return Store(MemoryTier(0), self.disk)

    @property
    def keeps(self) -> bool:
        """True if stored features will be available to later processes."""
        return self.disk is not None and self._disk_writable

    def get(self, key: FeatureKey, device: torch.device | str) -> dict[str, Tensor] | None:
        """Look up the features of one tile.

        Args:
            key: The tile.
            device: Device of the returned maps.

        Returns:
            Name -> (C, h, w) float32 on `device`, not to be modified; None if the tile must be encoded.
        """
        maps = self.memory.get(key)
        if maps is None and self.disk is not None:
            maps = self.disk.get(key)
            if maps is not None:
                maps = {name: tensor.to(device) for name, tensor in maps.items()}
                self.memory.put(key, maps)
        if maps is None:
            return None
        for tensor in maps.values():
            if tensor.is_cuda:
                # The entry may be evicted, on another stream, before this one has read it.
                tensor.record_stream(torch.cuda.current_stream(tensor.device))
        return {name: tensor.to(device, torch.float32) for name, tensor in maps.items()}

    def put(self, key: FeatureKey, maps: Maps) -> dict[str, Tensor]:
        """Store the features of one tile in memory and on disk, as float16.

        Maps with values outside the range of float16 (above 65,504, or not finite) are kept unrounded, in memory only.
        If writing to disk fails, a warning is logged once and the store continues in memory only.

        Args:
            key: The tile.
            maps: Name -> (C, h, w) float tensors on any device.

        Returns:
            The maps that `get` will return, as float32 on the device of `maps`.
        """
        rounded = _rounded(maps)
        self.memory.put(key, rounded)
        self._write(key, rounded)
        return {name: tensor.float() for name, tensor in rounded.items()}

    def _write(self, key: FeatureKey, maps: Maps) -> None:
        if self.disk is None or not self._disk_writable:
            return
        try:
            self.disk.put(key, maps)
        except OSError as error:
            with self._lock:
                first, self._disk_writable = self._disk_writable, False
            if first:
                logger.warning("Features are cached in memory only from now on: %s", error)

    def clear(self) -> int:
        """Delete all features, in memory and on disk, and return the number of tiles.

        Raises:
            StorageError: If the folder may not be written to.
        """
        in_memory = self.memory.clear()
        if self.disk is None:
            return in_memory
        on_disk = self.disk.clear()
        self._disk_writable = True  # deleting may have freed space
        return max(in_memory, on_disk)

    def info(self) -> StoreInfo:
        """Return the number and total size of the entries of both tiers."""
        return StoreInfo(self.memory.info(), None if self.disk is None else self.disk.info())

    def verify_job(self) -> jobs.Job[Verification]:
        """Verify all entries on disk and delete damaged ones; a job with progress."""
        if self.disk is None:
            return Verification(0, 0)
        return (yield from self.disk.verify_job())

    def verify(self) -> Verification:
        """Verify all entries on disk and delete damaged ones, which will be computed again."""
        return jobs.run(self.verify_job())


def _rounded(maps: Maps) -> Maps:
    """Round all maps to float16, or none if one has values outside the range of float16."""
    halves = {name: tensor.detach().half() for name, tensor in maps.items()}
    return halves if all(bool(tensor.isfinite().all()) for tensor in halves.values()) else maps
