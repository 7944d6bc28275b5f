"""Features computed once and kept: in memory, and on disk for the next time."""

from .base import FeatureKey, StoreTier, TierInfo
from .disk import DiskTier, Verification
from .facade import Store, StoreInfo
from .memory import MemoryTier

__all__ = [
    "DiskTier",
    "FeatureKey",
    "MemoryTier",
    "Store",
    "StoreInfo",
    "StoreTier",
    "TierInfo",
    "Verification",
]
