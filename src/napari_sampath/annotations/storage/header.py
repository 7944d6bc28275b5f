"""First line of a journal: the image, its initial classes and the limits of the undo history."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from ...arrays import ClassInfo, UInt8Array
from ...files import from_json
from ...files.json_reader import Range
from ..model.annotated_object import now
from ..model.classes import checked
from ..model.operations import classes_to_json
from .history import MAX_BYTES, MAX_STEPS

FORMAT = "napari-sampath journal"
SCHEMA = 1
MAX_SIDE_PX = 2**24
"""Longest side of an image in a journal."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a journal."""

    image: str
    """Name of the image when the journal was created."""
    hw: tuple[int, int]
    """Size (H, W) of the image in pixels."""
    digest: str
    """`pixel_digest` of the image, which identifies it even if it is renamed."""
    classes: tuple[ClassInfo, ...]
    """Initial classes."""
    max_steps: int = MAX_STEPS
    """`History.max_steps`, which also applies during replay."""
    max_bytes: int = MAX_BYTES
    """`History.max_bytes`, which also applies during replay."""
    created: str = ""
    """Creation time in UTC, ISO 8601; the current time if empty."""

    def to_json(self) -> dict[str, Any]:
        """Convert the header to JSON."""
        return {
            "format": FORMAT,
            "schema": SCHEMA,
            "image": self.image,
            "hw": list(self.hw),
            "digest": self.digest,
            "classes": classes_to_json(self.classes),
            "history": {"steps": self.max_steps, "bytes": self.max_bytes},
            "created": self.created or now(),
        }

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Header:
        """Convert the output of `to_json` to a header.

        Raises:
            ValueError: If a field is missing or a value is not allowed.
        """
        stored = from_json(_Stored, fields)
        limits = stored.history
        classes = checked(stored.classes)
        return cls(
            stored.image, stored.hw, stored.digest, classes, limits.steps, limits.bytes, stored.created
        )


_Side = Annotated[int, Range(1, MAX_SIDE_PX)]


@dataclass(frozen=True, slots=True)
class _Limits:
    steps: Annotated[int, Range(1, 2**31 - 1)]
    bytes: Annotated[int, Range(1, 2**62)]


@dataclass(frozen=True, slots=True)
class _Stored:
    """The first line of a file."""

    image: str
    hw: tuple[_Side, _Side]
    digest: str
    classes: tuple[ClassInfo, ...]
    history: _Limits
    created: str


def pixel_digest(image: UInt8Array) -> str:
    """Return the hexadecimal SHA-256 digest of an image's shape, type and pixels (H, W, 3); takes about 1 s per GB."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    for row in range(0, len(image), 256):
        digest.update(np.ascontiguousarray(image[row : row + 256]).data)
    return digest.hexdigest()
