"""Cache of features, in memory and on disk."""

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
