"""The key under which features are kept, and what each tier of the store must be able to do."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import xxhash

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from ..arrays import UInt8Array
    from ..geometry import Frame

Maps: TypeAlias = "Mapping[str, Tensor]"
"""Name of a map -> (C, h, w) float tensor, as in `arrays.Features.maps`."""


@dataclass(frozen=True, slots=True)
class FeatureKey:
    """All that the features of one tile depend on, and nothing else.

    Neither the image's name nor the tile's place in it is part of the key, so that a renamed or cropped
    image finds what is there; one changed pixel does not.
    """

    pixels: str
    """Hex digest of the window's pixels, shape and data type, and of the side of the encoder's input."""
    encoder: str
    """Name of the encoder."""
    weights: str
    """Hex digest of the encoder's weights."""
    precision: str
    """What the encoder computes in: "float32", "bfloat16" ..."""
    preprocessing: int
    """Version of the way from pixels to the encoder's input."""

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
        """Make the key of one tile.

        Args:
            pixels: (H, W, 3) uint8 RGB, the tile's window only, not the whole image.
            frame: The tile; its size must be that of `pixels`, its position does not matter.
            encoder_name: Name of the encoder.
            weights_digest: `Encoder.weights_digest`.
            precision: What the encoder computes in.
            preprocessing_version: `Encoder.preprocessing_version`.

        Raises:
            ValueError: If pixels and frame differ in size.
        """
        if pixels.shape[:2] != frame.hw:
            raise ValueError(
                f"The window has shape {pixels.shape}, its frame {frame.hw}; pass the window's pixels."
            )
        # Nobody gains by a forged collision here, and all pixels are hashed at every opening: speed counts.
        content = xxhash.xxh3_128(
            json.dumps([pixels.shape, str(pixels.dtype), *frame.hw, frame.input_px]).encode("ascii")
        )
        content.update(np.ascontiguousarray(pixels).data)
        return cls(content.hexdigest(), encoder_name, weights_digest, precision, preprocessing_version)

    @property
    def digest(self) -> str:
        """Hex digest of the whole key (64 characters): the entry's name."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode("utf-8")).hexdigest()


@dataclass(frozen=True, slots=True)
class TierInfo:
    """What one tier holds."""

    entries: int
    """Number of tiles."""
    size_bytes: int
    """Bytes they take."""
    limit_bytes: int
    """Bytes they may take; the least recently used go first."""
    place: str
    """Where they are: "memory", or the folder."""


class StoreTier(ABC):
    """One place in which features are kept; safe to use from several threads."""

    @abstractmethod
    def get(self, key: FeatureKey) -> dict[str, Tensor] | None:
        """Return the maps kept under `key`, None if there are none; counts as a use.

        The tensors are shared with the tier and must not be written to.
        """

    @abstractmethod
    def put(self, key: FeatureKey, maps: Maps) -> None:
        """Keep maps under `key`, dropping the least recently used entries if there is no room.

        What is larger than the whole tier is not kept.
        """

    @abstractmethod
    def discard(self, key: FeatureKey) -> None:
        """Forget the maps under `key`; nothing happens if there are none."""

    @abstractmethod
    def clear(self) -> int:
        """Forget everything and return the number of entries that were there."""

    @abstractmethod
    def info(self) -> TierInfo:
        """Count what is there."""
