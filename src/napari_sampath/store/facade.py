"""The store that the rest of the package sees: memory over disk."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .. import jobs
from .disk import DiskTier, Verification
from .memory import MemoryTier

if TYPE_CHECKING:
    from torch import Tensor

    from ..config import Config
    from .base import FeatureKey, Maps, TierInfo

logger = logging.getLogger(__name__)

DEFAULT_MEMORY_BYTES = 2**30
"""Room for about 500 tiles with an embedding."""


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store holds."""

    memory: TierInfo
    """The memory tier of this process."""
    disk: TierInfo | None
    """The disk tier; None if there is none."""


class Store:
    """Features of tiles, found by their content: looked for in memory, then on disk.

    Both tiers keep float16 (relative rounding 5e-4), and `put` hands back what was kept: whoever goes on with
    that gets the same answers now and after the image is opened again.

    Args:
        memory: The memory tier.
        disk: The disk tier; None keeps features in memory only.
    """

    def __init__(self, memory: MemoryTier, disk: DiskTier | None = None) -> None:
        self.memory = memory
        self.disk = disk
        self._disk_writable = True
        self._lock = threading.Lock()

    @classmethod
    def from_config(cls, config: Config, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> Store:
        """Make the store of one process.

        Args:
            config: Says where the disk tier lies and how large it may grow; a limit of 0 leaves it out.
            memory_bytes: Bytes that features may take in memory.
        """
        disk = (
            DiskTier(config.features_dir, config.cache_limit_bytes) if config.cache_limit_bytes > 0 else None
        )
        return cls(MemoryTier(memory_bytes), disk)

    @property
    def keeps(self) -> bool:
        """True as long as what is put is found by the next process, too."""
        return self.disk is not None and self._disk_writable

    def get(self, key: FeatureKey, device: torch.device | str) -> dict[str, Tensor] | None:
        """Look up the features of one tile.

        Args:
            key: The tile.
            device: Where the maps are needed.

        Returns:
            Name -> (C, h, w) float32 on `device`, not to be written to; None if the tile must be encoded.
        """
        maps = self.memory.get(key)
        if maps is None and self.disk is not None:
            maps = self.disk.get(key)
            if maps is not None:
                maps = {name: tensor.to(device) for name, tensor in maps.items()}
                self.memory.put(key, maps)
        if maps is None:
            return None
        return {name: tensor.to(device, torch.float32) for name, tensor in maps.items()}

    def put(self, key: FeatureKey, maps: Maps) -> dict[str, Tensor]:
        """Keep the features of one tile in memory and on disk, as float16.

        Maps with values that float16 cannot hold (over 65,504, or not numbers) are kept in memory as they are.
        If the disk cannot be written to, that is said once in the log and this store goes on in memory only.

        Args:
            key: The tile.
            maps: Name -> (C, h, w) float tensors on any device.

        Returns:
            What `get` will find, float32 on the device of `maps`.
        """
        kept = _rounded(maps)
        self.memory.put(key, kept)
        self._write(key, kept)
        return {name: tensor.float() for name, tensor in kept.items()}

    def _write(self, key: FeatureKey, maps: Maps) -> None:
        if self.disk is None or not self._disk_writable:
            return
        try:
            self.disk.put(key, maps)
        except OSError as error:
            with self._lock:
                first, self._disk_writable = self._disk_writable, False
            if first:
                logger.warning("Features are from now on kept in memory only: %s", error)

    def clear(self) -> int:
        """Forget everything, in memory and on disk, and return the number of tiles that were there.

        Raises:
            StorageError: If the folder may not be written to.
        """
        in_memory = self.memory.clear()
        if self.disk is None:
            return in_memory
        on_disk = self.disk.clear()
        self._disk_writable = True  # There may be room now.
        return max(in_memory, on_disk)

    def info(self) -> StoreInfo:
        """Count what is there."""
        return StoreInfo(self.memory.info(), None if self.disk is None else self.disk.info())

    def verify_job(self) -> jobs.Job[Verification]:
        """Read every entry on disk and delete the damaged ones, with progress."""
        if self.disk is None:
            return Verification(0, 0)
        return (yield from self.disk.verify_job())

    def verify(self) -> Verification:
        """Read every entry on disk and delete the damaged ones; they will be computed again."""
        return jobs.run(self.verify_job())


def _rounded(maps: Maps) -> Maps:
    """Round all maps to float16, or none if one holds what float16 cannot."""
    halves = {name: tensor.detach().half() for name, tensor in maps.items()}
    return halves if all(bool(tensor.isfinite().all()) for tensor in halves.values()) else maps
