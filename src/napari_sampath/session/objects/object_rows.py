"""Rows of the table of objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, TypeAlias, TypeVar

from ...annotations import AnnotatedObject

Column: TypeAlias = Literal[
    "id", "class_name", "area_px", "score", "source", "model", "reviewed", "unsure", "created"
]


Row = TypeVar("Row", "ObjectRow", AnnotatedObject)


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


def sort_rows(
    rows: Iterable[Row],
    sort_by: Column = "id",
    descending: bool = False,
    names: Mapping[int, str] | None = None,
) -> list[Row]:
    """Sort rows or records by a column, then by id; those without a value come last in both directions.

    Args:
        rows: The rows, or the records of objects.
        sort_by: The column.
        descending: Sort in descending order.
        names: Class id -> name, to sort records by the names of their classes.
    """
    rows = list(rows)
    value: Callable[[Any], Any] = attrgetter(sort_by)
    if sort_by == "class_name" and names is not None:
        value = lambda row: names[row.class_id]  # noqa: E731
    valued = [row for row in rows if value(row) is not None]
    missing = [] if len(valued) == len(rows) else [row for row in rows if value(row) is None]
    # Sorting twice needs no tuple for each row.
    valued.sort(key=attrgetter("id"), reverse=descending)
    if sort_by != "id":
        valued.sort(key=value, reverse=descending)
    return valued + missing
