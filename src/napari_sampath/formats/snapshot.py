"""The annotations of one image at one moment: the input of an export or a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..arrays import BoolArray, ClassInfo, UInt8Array


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """An image with its label maps and metadata; the fields are checked where they are used."""

    name: str
    """Name of the image, without the ending of its file."""
    image: UInt8Array | None
    """(H, W, 3) uint8 RGB; not needed for an export."""
    class_map: Any
    """(H, W) class ids, 0..255, 0 for none; an array, or a `MapLike` that is read tile by tile."""
    instance_map: Any = None
    """(H, W) object numbers, 0 for none; None if objects are not separated."""
    verified: BoolArray | None = None
    """(H, W) bool, the pixels whose labels a person has confirmed; None for all."""
    classes: Sequence[ClassInfo] | None = None
    """The classes of the ids in `class_map`; None if they are those of the dataset that the snapshot is saved to."""
    details: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Number of an object -> further JSON values, such as its score and source."""
    mpp: float | None = None
    """Micrometres per pixel, if known."""
    digest: str = ""
    """Hexadecimal digest of the pixels, which distinguishes images of the same name; empty if unknown."""
    file_name: str = ""
    """Name of the image file with its ending, such as "slide 7.png"; empty if unknown."""
