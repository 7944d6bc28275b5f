"""The record of one object; its pixels are in the maps of the document."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from ..masks.masks import Box

Source: TypeAlias = Literal["point", "box", "mask", "head", "brush", "import"]
"""How an object was made."""

FlagName: TypeAlias = Literal["reviewed", "unsure"]
"""Marks that a person can set on an object."""

FLAGS: tuple[FlagName, ...] = get_args(FlagName)

TRUSTED, UNSURE = 1, 2


def now() -> str:
    """Return the time in UTC as ISO 8601, to the millisecond."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


@dataclass(frozen=True, slots=True)
class AnnotatedObject:
    """One committed object or painted region."""

    id: int
    """Value in the instance map, from 1; never reused within a document."""
    class_id: int
    """Value in the class map, 1..255."""
    source: Source
    score: float | None = None
    """Predicted IoU (prompts) or mean probability (head), 0..1; None without a prediction."""
    model: str | None = None
    """Name of the model or head."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """{"points": [[x, y], ...], "labels": [1, 0, ...], "box": [x0, y0, x1, y1] or None, "mask": bool}."""
    created: str = field(default_factory=now)
    """Time in UTC, ISO 8601."""
    reviewed: bool = False
    """A person has checked the object and agrees with it."""
    unsure: bool = False
    """A person cannot decide; the object is left out of training."""
    box: Box = (0, 0, 0, 0)
    """Bounding box of all pixels the object was ever given, overwritten ones included."""
    area_px: int = 0
    """Current number of pixels; updated by the document."""
    modified: str | None = None
    """Time in UTC, ISO 8601, at which refining or merging replaced an earlier record of the object, if ever."""

    @property
    def trust(self) -> int:
        """`TRUSTED` if a person has verified it (proposals of heads must be reviewed), `UNSURE`, or 0."""
        if self.unsure:
            return UNSURE
        return TRUSTED if self.reviewed or self.source != "head" else 0


def to_json(obj: AnnotatedObject) -> dict[str, Any]:
    """Convert a record to JSON, without box and area, which follow from the pixels."""
    return {
        "id": obj.id,
        "class_id": obj.class_id,
        "source": obj.source,
        "score": obj.score,
        "model": obj.model,
        "prompts": dict(obj.prompts),
        "created": obj.created,
        **{flag: True for flag in FLAGS if getattr(obj, flag)},
        **({} if obj.modified is None else {"modified": obj.modified}),
    }


def from_json(fields: Mapping[str, Any]) -> AnnotatedObject:
    """Convert the output of `to_json` to a record.

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
