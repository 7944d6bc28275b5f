"""First line of a journal: the image, its initial classes and the limits of the undo history."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np

from ...arrays import ClassInfo, UInt8Array
from ...errors import JournalError
from ...files import from_json
from ...files.json_reader import Range
from ...images.slides import Slide
from ..model.annotated_object import now
from ..model.classes import checked
from ..model.operations import classes_to_json
from .history import MAX_BYTES, MAX_STEPS

FORMAT = "napari-sampath journal"
SCHEMAS = (1, 2)
"""Schemas that are read. Schema 2 adds slides, masks with a step, and large objects in several masks."""
MAX_SIDE_PX = 2**24
"""Longest side of an image in a journal."""

Kind: TypeAlias = Literal["image", "slide"]


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
    kind: Kind = "image"
    """Whether `digest` is that of all pixels of an image, or that of a slide, see `images.slides.Slide.digest`."""
    schema: int = 1
    """The schema of the file: the lowest that its content needs, so that earlier versions read what they can."""

    def to_json(self) -> dict[str, Any]:
        """Convert the header to JSON."""
        return {
            "format": FORMAT,
            "schema": self.schema,
            **({} if self.kind == "image" else {"kind": self.kind}),
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
            stored.image,
            stored.hw,
            stored.digest,
            classes,
            limits.steps,
            limits.bytes,
            stored.created,
            stored.kind,
            stored.schema,
        )

    @classmethod
    def of(
        cls, image: UInt8Array | Slide, name: str, classes: tuple[ClassInfo, ...], digest: str = ""
    ) -> Header:
        """Return the header of a new journal of an image (H, W, 3) uint8 or a slide; its digest may be given."""
        is_slide = isinstance(image, Slide)
        hw = (image.shape[0], image.shape[1])
        kind: Kind = "slide" if is_slide else "image"
        return cls(name, hw, digest or pixel_digest(image), classes, kind=kind, schema=2 if is_slide else 1)


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
    kind: Kind = "image"
    schema: int = 1


def checked_header(first: Mapping[str, Any], path: Path, expected: Header | None) -> Header:
    """Return the header in the first record of a journal.

    Args:
        first: The record.
        path: The file, used in messages.
        expected: Header of the open image; None accepts any image.

    Raises:
        JournalError: If it is no header of a known schema, or that of another image.
    """
    if first.get("format") != FORMAT:
        raise JournalError(
            f"'{path}' is not a journal of napari-sampath, or its first line is damaged; "
            "move it away or choose another file."
        )
    if first.get("schema") not in SCHEMAS:
        raise JournalError(
            f"The journal '{path}' has schema {first.get('schema')}, but this version reads schemas "
            f"{SCHEMAS[0]} to {SCHEMAS[-1]}; update napari-sampath."
        )
    try:
        header = Header.from_json(first)
    except ValueError as error:
        raise JournalError(
            f"The first line of the journal '{path}' is damaged ({error}); move the file away or choose "
            "another one."
        ) from error
    if expected is not None and (header.digest, header.hw) != (expected.digest, expected.hw):
        raise JournalError(
            f"The journal '{path}' belongs to the image '{header.image}' "
            f"({header.hw[1]} x {header.hw[0]} px), not to the open image '{expected.image}' "
            f"({expected.hw[1]} x {expected.hw[0]} px); open that image or choose another journal."
        )
    return header


def pixel_digest(image: UInt8Array | Slide) -> str:
    """Return the identity of an image, independent of its name.

    Returns:
        The hexadecimal SHA-256 digest of the shape, type and pixels of an array (H, W, 3), which takes about 1 s per
        GB; the digest of a slide, for which samples are read.
    """
    if isinstance(image, Slide):
        return image.digest
    digest = hashlib.sha256(f"{image.shape} {image.dtype}".encode())
    for row in range(0, len(image), 256):
        digest.update(np.ascontiguousarray(image[row : row + 256]).data)
    return digest.hexdigest()
