"""Record of one object; the maps of the document store its pixels."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, Literal, TypeAlias, get_args

from ...files import convert
from ...files.json_reader import Range
from ..masks.masks import Box

Source: TypeAlias = Literal["point", "box", "mask", "head", "brush", "import", "similar", "text"]
"""How an object was created."""

PROPOSED: tuple[Source, ...] = ("head", "similar", "text")
"""Sources of objects that are proposals until a person has reviewed them."""

FlagName: TypeAlias = Literal["reviewed", "unsure"]
"""Marks that a person can set on an object."""

FLAGS: tuple[FlagName, ...] = get_args(FlagName)

OPTIONAL = ("modified", "made_by", "changed_by")
"""Fields that are stored only if they are set."""

MAX_ID = 2**26
"""Highest object number that is read; tables from number to class have that length."""

TRUSTED, UNSURE = 1, 2
"""Values of `AnnotatedObject.trust`; 0 is an unreviewed proposal."""


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
    """Predicted IoU (prompts), mean probability (head), similarity to exemplars (similar) or probability among texts
    (text), 0..1; None without a prediction."""
    model: str | None = None
    """Name of the model or head that predicted the object; None without a prediction."""
    prompts: Mapping[str, Any] = field(default_factory=dict)
    """Prompts for the object: {"points": [[x, y], ...], "labels": [1, 0, ...], "box": [x0, y0, x1, y1] or None,
    "mask": bool}; empty without prompts."""
    created: str = field(default_factory=now)
    """Creation time in UTC, ISO 8601."""
    reviewed: bool = False
    """Whether a person has checked and accepted the object."""
    unsure: bool = False
    """Whether a person has marked the object as unsure; training ignores such objects."""
    box: Box = (0, 0, 0, 0)
    """Bounding box of all pixels ever assigned to the object, including pixels overwritten since."""
    area_px: int = 0
    """Current number of pixels; updated by the document."""
    modified: str | None = None
    """Time in UTC, ISO 8601, at which refining or merging last replaced the record; None if never."""
    made_by: str | None = None
    """Name of the reader who created the object; None if the reader gave no name."""
    changed_by: str | None = None
    """Name of the reader who last changed its pixels, class or marks; None if there is none."""

    @property
    def trust(self) -> int:
        """`UNSURE` if marked as unsure, 0 for an unreviewed proposal, otherwise `TRUSTED`."""
        if self.unsure:
            return UNSURE
        return TRUSTED if self.reviewed or self.source not in PROPOSED else 0


def to_json(obj: AnnotatedObject) -> dict[str, Any]:
    """Convert a record to JSON; box and area are omitted, because they follow from the pixels."""
    return {
        "id": obj.id,
        "class_id": obj.class_id,
        "source": obj.source,
        "score": obj.score,
        "model": obj.model,
        "prompts": dict(obj.prompts),
        "created": obj.created,
        **{flag: True for flag in FLAGS if getattr(obj, flag)},
        **{key: value for key in OPTIONAL if (value := getattr(obj, key)) is not None},
    }


def from_json(stored: Mapping[str, Any]) -> AnnotatedObject:
    """Convert the output of `to_json` to a record.

    Raises:
        ValueError: If a field is missing or a value is not allowed.
    """
    if _is_plain(stored):  # As heads write them; quick to check.
        return AnnotatedObject(**{key: stored[key] for key in _NAMES if key in stored})
    checked = asdict(convert(stored, _Stored))
    convert(stored.get("prompts"), _Prompts)
    return AnnotatedObject(**checked, prompts=stored["prompts"])


@dataclass(frozen=True, slots=True)
class _Stored:
    """The fields of a stored record."""

    id: Annotated[int, Range(1, MAX_ID)]
    class_id: Annotated[int, Range(1, 255)]
    source: Source
    created: str
    score: float | None = None
    model: str | None = None
    reviewed: bool = False
    unsure: bool = False
    modified: str | None = None
    made_by: str | None = None
    changed_by: str | None = None


_NAMES = ("prompts", *(entry.name for entry in fields(_Stored)))
"""Names of the fields that `to_json` writes."""


def _is_plain(stored: Mapping[str, Any]) -> bool:
    """Return whether a stored record has no prompts and only values of the usual types, in their range."""
    object_id, class_id, score = (stored.get(key) for key in ("id", "class_id", "score"))
    return (
        type(object_id) is int
        and 1 <= object_id <= MAX_ID
        and type(class_id) is int
        and 1 <= class_id <= 255
        and (score is None or type(score) is float)
        and stored.get("source") in get_args(Source)
        and type(stored.get("created")) is str
        and stored.get("prompts") == {}
        and all(type(stored.get(flag, False)) is bool for flag in FLAGS)
        and all(type(stored.get(key)) in (str, type(None)) for key in ("model", *OPTIONAL))
    )


@dataclass(frozen=True, slots=True)
class _Prompts:
    """The prompts of a stored record."""

    points: list[tuple[float, float]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    box: tuple[float, float, float, float] | None = None
    mask: bool = False
