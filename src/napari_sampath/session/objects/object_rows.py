"""Rows of the table of objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, TypeAlias

from ...annotations import AnnotatedObject

Column: TypeAlias = Literal[
    "id", "class_name", "area_px", "score", "source", "model", "reviewed", "unsure", "created"
]


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One row of the table of objects."""

    id: int
    class_id: int
    class_name: str
    area_px: int
    score: float | None
    source: str
    model: str | None
    reviewed: bool
    unsure: bool
    created: str
    centre_rc: tuple[float, float]
    """Centre (row, col) of the bounding box in image pixels, for the camera."""


def make_row(obj: AnnotatedObject, class_name: str) -> ObjectRow:
    """Convert the record of an object to a row."""
    r0, c0, r1, c1 = obj.box
    return ObjectRow(
        obj.id,
        obj.class_id,
        class_name,
        obj.area_px,
        obj.score,
        obj.source,
        obj.model,
        obj.reviewed,
        obj.unsure,
        obj.created,
        ((r0 + r1) / 2, (c0 + c1) / 2),
    )


def sort_rows(rows: Iterable[ObjectRow], sort_by: Column = "id", descending: bool = False) -> list[ObjectRow]:
    """Sort rows by a column, then by id; rows without a value come last in both directions."""
    rows, value = list(rows), attrgetter(sort_by)
    valued = [row for row in rows if value(row) is not None]
    valued.sort(key=attrgetter(sort_by, "id"), reverse=descending)
    return valued + [row for row in rows if value(row) is None]
