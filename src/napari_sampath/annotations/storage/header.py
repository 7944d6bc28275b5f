"""First line of a journal: the image, its initial classes and the limits of the undo history."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...arrays import ClassInfo, UInt8Array
from ..model.annotated_object import now
from ..model.operations import classes_from_json, classes_to_json
from .history import MAX_BYTES, MAX_STEPS

FORMAT = "napari-sampath journal"
SCHEMA = 1


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
        """Convert the output of `to_json` to a header."""
        height, width = fields["hw"]
        history = fields["history"]
        return cls(
            fields["image"],
            (height, width),
            fields["digest"],
            classes_from_json(fields["classes"]),
            history["steps"],
            history["bytes"],
            fields["created"],
        )


def pixel_digest(image: UInt8Array) -> str:
    """Return the hexadecimal SHA-256 digest of an image's shape, type and pixels (H, W, 3); takes about 1 s per GB."""
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    for row in range(0, len(image), 256):
        digest.update(np.ascontiguousarray(image[row : row + 256]).data)
    return digest.hexdigest()
