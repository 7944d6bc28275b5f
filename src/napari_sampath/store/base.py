"""Key of cached features, and base class of the store's tiers."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TypeAlias

import numpy as np
import xxhash
from torch import Tensor

from ..arrays import UInt8Array
from ..geometry import Frame

Maps: TypeAlias = "Mapping[str, Tensor]"
"""Name of a map -> (C, h, w) float tensor, as in `arrays.Features.maps`."""


@dataclass(frozen=True, slots=True)
class FeatureKey:
    """Key of the features of one tile, which contains exactly what they depend on.

    Neither the name of the image nor the position of the tile is part of the key. Cached features are therefore found
    for a renamed or cropped image, but not after a pixel of the tile has changed.
    """

    pixels: str
    """Hex digest of the window's pixels, shape and data type, and of the input side."""
    encoder: str
    """Name of the encoder."""
    weights: str
    """Hex digest of the encoder's weights."""
    precision: str
    """Data type in which the encoder computes, such as "float32" or "bfloat16"."""
    preprocessing: int
    """Version of the preprocessing from pixels to the encoder's input."""

    @classmethod
    def of(
        cls,
        pixels: UInt8Array,
        frame: Frame,
        encoder_name: str,
        weights_digest: str,
        precision: str,
        preprocessing_version: int,
    ) -> FeatureKey:
        """Compute the key of one tile.

        Args:
            pixels: (H, W, 3) uint8 RGB, the window of the tile, not the whole image.
            frame: The tile; it must have the size of `pixels`.
            encoder_name: Name of the encoder.
            weights_digest: `Encoder.weights_digest`.
            precision: Data type in which the encoder computes.
            preprocessing_version: `Encoder.preprocessing_version`.

        Raises:
            ValueError: If pixels and frame differ in size.
        """
        if pixels.shape[:2] != frame.hw:
            raise ValueError(
                f"The pixels have shape {pixels.shape}, but the frame has size {frame.hw}; "
                "pass the pixels of the window."
            )
        # Use a fast, non-cryptographic hash, since all pixels are hashed whenever an image is opened.
        content = xxhash.xxh3_128(
            json.dumps([pixels.shape, str(pixels.dtype), *frame.hw, frame.input_px]).encode("ascii")
        )
        content.update(np.ascontiguousarray(pixels).data)
        return cls(content.hexdigest(), encoder_name, weights_digest, precision, preprocessing_version)

    @property
    def digest(self) -> str:
        """Hex digest of the key (64 characters), used as the name of the entry."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class TierInfo:
    """Content of one tier."""

    entries: int
    """Number of tiles."""
    size_bytes: int
    """Size of all entries in bytes."""
    limit_bytes: int
    """Size limit in bytes; the least recently used entries are evicted first."""
    place: str
    """"memory", or the path of the folder."""


class StoreTier(ABC):
    """Thread-safe cache of features, in memory or on disk."""

    @abstractmethod
    def get(self, key: FeatureKey) -> dict[str, Tensor] | None:
        """Return the maps of `key` and mark them as used; None if they are not cached.

        The tensors are shared with the tier: do not modify them.
        """

    @abstractmethod
    def put(self, key: FeatureKey, maps: Maps) -> None:
        """Store maps under `key`, evicting the least recently used entries if necessary.

        Maps larger than the limit of the tier are not stored.
        """

    @abstractmethod
    def discard(self, key: FeatureKey) -> None:
        """Delete the maps of `key` if they are cached."""

    @abstractmethod
    def clear(self) -> int:
        """Delete all entries and return their number."""

    @abstractmethod
    def info(self) -> TierInfo:
        """Return the number and total size of the entries."""
