"""Objects as the table of all of them shows them."""

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
    """One object as the table of objects shows it."""

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
    """Middle of its box (row, col) in image pixels: where to move the camera."""


def make_row(one: AnnotatedObject, class_name: str) -> ObjectRow:
    """Make the row of an annotation."""
    r0, c0, r1, c1 = one.box
    return ObjectRow(
        one.id,
        one.class_id,
        class_name,
        one.area_px,
        one.score,
        one.source,
        one.model,
        one.reviewed,
        one.unsure,
        one.created,
        ((r0 + r1) / 2, (c0 + c1) / 2),
    )


def sort_rows(rows: Iterable[ObjectRow], sort_by: Column = "id", descending: bool = False) -> list[ObjectRow]:
    """Sort rows by a column and then by number; those without a value come last either way."""
    rows, value = list(rows), attrgetter(sort_by)
    known = [row for row in rows if value(row) is not None]
    known.sort(key=attrgetter(sort_by, "id"), reverse=descending)
    return known if len(known) == len(rows) else known + [row for row in rows if value(row) is None]
