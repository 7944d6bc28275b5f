"""One committed object or painted region, without its pixels: those are in the maps of the document."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ...arrays import LocalMask

Source: TypeAlias = Literal["point", "box", "mask", "head", "brush", "import"]
"""How an annotation came about."""

FlagName: TypeAlias = Literal["reviewed", "unsure"]
"""What a person may tick on an annotation."""

FLAGS: tuple[FlagName, ...] = get_args(FlagName)

TRUSTED, UNSURE = 1, 2

Box: TypeAlias = tuple[int, int, int, int]
"""(r0, c0, r1, c1) in image pixels, end exclusive."""


def now() -> str:
    """Return the time in UTC as ISO 8601, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class AnnotatedObject:
    """What is known of one object."""

    id: int
    """Value in the instance map, from 1; never used again within a document."""
    class_id: int
    """Value in the class map, 1..255."""
    source: Source
    score: float | None = None
    """Predicted IoU (prompts) or mean probability (head), 0..1; None where nobody predicted."""
    model: str | None = None
    """Name of the model or head that answered."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """{"points": [[x, y], ...], "labels": [1, 0, ...], "box": [x0, y0, x1, y1] or None, "mask": bool}."""
    created: str = field(default_factory=now)
    """Time in UTC, ISO 8601."""
    reviewed: bool = False
    """A person has looked at it and agrees."""
    unsure: bool = False
    """A person cannot tell; it is not trained on."""
    box: Box = (0, 0, 0, 0)
    """Bounding box of all pixels it was given; what others overwrote later is not cut off."""
    area_px: int = 0
    """Pixels it holds now; the document keeps it."""
    modified: str | None = None
    """Time in UTC, ISO 8601, at which this took the place of an earlier record of the object: it was refined by
    prompts, or joined with others. None if that never happened."""

    @property
    def trust(self) -> int:
        """`TRUSTED` if a person has verified it (a head's proposal must be reviewed first); `UNSURE`, or 0."""
        if self.unsure:
            return UNSURE
        return TRUSTED if self.reviewed or self.source != "head" else 0


def bounds(mask: LocalMask) -> Box:
    """Return the box of a local mask."""
    rows, cols = mask.slices
    return rows.start, cols.start, rows.stop, cols.stop


def union(first: Box | None, second: Box | None) -> Box | None:
    """Return the smallest box around two; None counts as nothing."""
    if first is None or second is None:
        return second if first is None else first
    return (
        min(first[0], second[0]),
        min(first[1], second[1]),
        max(first[2], second[2]),
        max(first[3], second[3]),
    )


def to_json(annotation: AnnotatedObject) -> dict[str, Any]:
    """Write what a person or model decided; box and area follow from the pixels."""
    return {
        "id": annotation.id,
        "class_id": annotation.class_id,
        "source": annotation.source,
        "score": annotation.score,
        "model": annotation.model,
        "prompts": dict(annotation.prompts),
        "created": annotation.created,
        **{flag: True for flag in FLAGS if getattr(annotation, flag)},
        **({} if annotation.modified is None else {"modified": annotation.modified}),
    }


def from_json(fields: Mapping[str, Any]) -> AnnotatedObject:
    """Read an annotation that `to_json` wrote.

    Raises:
        ValueError: If the source is not one of `Source`.
    """
    if fields["source"] not in get_args(Source):
        raise ValueError(f"the source is '{fields['source']}', not one of {get_args(Source)}")
    return AnnotatedObject(
        int(fields["id"]),
        int(fields["class_id"]),
        fields["source"],
        fields["score"],
        fields["model"],
        fields["prompts"],
        fields["created"],
        bool(fields.get("reviewed", False)),
        bool(fields.get("unsure", False)),
        modified=fields.get("modified"),
    )
