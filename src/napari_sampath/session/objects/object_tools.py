"""What can be done to single objects: split, merge, reshape, tick off; and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from ...annotations import (
    Add,
    AnnotatedObject,
    Batch,
    Delete,
    Document,
    Flag,
    FlagName,
    Operation,
    Reclassify,
    Verify,
)
from ...annotations.masks import shaping
from ...annotations.model.operations import label
from ...arrays import LocalMask
from ...errors import PromptError
from .object_rows import Column, ObjectRow, make_row, sort_rows
from .overlap import joint_record
from .reshaping import reshaped, review_steps

Do: TypeAlias = Callable[[Operation], None]


class ObjectTools:
    """The objects of a session; every change is one step of undo and is saved as all others.

    A person who changes an object has judged it: what a head found is reviewed then, and where a person takes an
    object away, or pixels of it, nothing is proposed again.

    Args:
        document: The document.
        do: Does and saves an operation.
    """

    def __init__(self, document: Document, do: Do) -> None:
        self._document = document
        self._do = do

    def rows(
        self,
        sort_by: Column = "id",
        descending: bool = False,
        only: Callable[[ObjectRow], bool] | None = None,
    ) -> list[ObjectRow]:
        """List objects for a table.

        Args:
            sort_by: Column to sort by; objects without a value come last either way.
            descending: The other way round.
            only: Which rows to list; all if left out.
        """
        names = {info.id: info.name for info in self._document.classes}
        rows = (make_row(one, names[one.class_id]) for one in self._document.objects.values())
        return sort_rows(rows if only is None else filter(only, rows), sort_by, descending)

    def row(self, object_id: int) -> ObjectRow | None:
        """Return one object as the table shows it; None if it is not there."""
        record = self._document.objects.get(object_id)
        return (
            None if record is None else make_row(record, self._document.classes.by_id(record.class_id).name)
        )

    def across(self, start_xy: tuple[float, float], stop_xy: tuple[float, float]) -> int:
        """Return the id of the object that has most of the straight way from one point (x, y) to another; 0 for none.

        Points are given as clicks are: pixel (row i, column j) has its centre at x = j, y = i.
        """
        steps = 2 + 2 * int(max(abs(stop_xy[0] - start_xy[0]), abs(stop_xy[1] - start_xy[1])))
        places = np.linspace(start_xy, stop_xy, steps).round().astype(int)
        ids = [self._document.object_at(row, col) for col, row in places.tolist()]
        found, counts = np.unique([one for one in ids if one], return_counts=True)
        return int(found[counts.argmax()]) if len(found) else 0

    def pieces(self, object_id: int) -> int:
        """Return in how many connected pieces an object is, corners counting as connected.

        Raises:
            UnknownNameError: If there is no such object.
        """
        return len(shaping.pieces(self._document.pixels(object_id)))

    def delete_at(self, row: int, col: int) -> AnnotatedObject | None:
        """Take away the object at a pixel and return what it was; None if there is none."""
        found = self._document.object_at(row, col)
        if not found:
            return None
        record = self._document.record(found)
        self.delete((found,))
        return record

    def delete(self, ids: Iterable[int]) -> None:
        """Delete objects and mark their pixels as verified background.

        Raises:
            UnknownNameError: If one is not there.
        """
        gone = Delete(tuple(ids))
        nothing = (Verify(self._document.pixels(one)) for one in gone.ids)
        self._do(Batch((gone, *nothing), label(gone)))

    def reclassify(self, ids: Iterable[int], class_id: int) -> None:
        """Give objects another class; those that a head found count as reviewed then, since a person has judged them.

        Raises:
            UnknownNameError: If one, or the class, is not there.
        """
        change = Reclassify(tuple(ids), class_id)
        verify = review_steps(*(self._document.record(one) for one in change.ids))
        self._do(Batch((change, *verify), "the change of class") if verify else change)

    def flag(self, ids: Iterable[int], flag: FlagName, value: bool = True) -> None:
        """Tick objects as "reviewed" or "unsure", or take the tick away.

        Raises:
            UnknownNameError: If one is not there.
        """
        self._do(Flag(tuple(ids), flag, value))

    def merge(self, ids: Iterable[int]) -> AnnotatedObject:
        """Make one object of several, which need not touch; the first keeps its id and class, and is reviewed.

        Where it is from is that of the largest, see `overlap.joint_record`.

        Raises:
            PromptError: If there are fewer than two.
            UnknownNameError: If one is not there.
        """
        first, *others = list(dict.fromkeys(ids)) or [0]
        if not others:
            raise PromptError("One object cannot be merged with itself; choose at least two.")
        parts = [self._document.record(one) for one in (first, *others)]
        record = joint_record(parts, sum(one.area_px for one in parts))
        mask = shaping.joined([self._document.pixels(one) for one in others])
        self._do(Batch((Add(((record, mask),)), *review_steps(record)), "the merging"))
        return self._document.record(first)

    def split_pieces(self, object_id: int) -> list[AnnotatedObject]:
        """Make an object of each connected piece; the largest keeps the id.

        Raises:
            PromptError: If it is in one piece.
            UnknownNameError: If there is no such object.
        """
        return self._split(object_id, shaping.pieces(self._document.pixels(object_id)), "is in one piece")

    def split_line(
        self, object_id: int, start_xy: tuple[float, float], stop_xy: tuple[float, float]
    ) -> list[AnnotatedObject]:
        """Cut an object along the straight line through two points (x, y); the larger side keeps the id.

        Raises:
            PromptError: If the line does not go through it.
            UnknownNameError: If there is no such object.
        """
        parts = shaping.cut(self._document.pixels(object_id), start_xy, stop_xy)
        return self._split(object_id, parts, "lies on one side of the line")

    def grow(self, object_id: int, by_px: int, overwrite: bool = False) -> AnnotatedObject:
        """Add all pixels within a distance; those of other objects only if they may be overwritten.

        Raises:
            UnknownNameError: If there is no such object.
        """
        mask = shaping.grown(self._document.pixels(object_id), by_px, self._document.hw)
        return self._reshape(object_id, mask, "the growing", overwrite)

    def shrink(self, object_id: int, by_px: int) -> AnnotatedObject:
        """Take away all pixels within a distance of the outside.

        Raises:
            PromptError: If nothing would be left.
            UnknownNameError: If there is no such object.
        """
        return self._reshape(
            object_id, shaping.shrunk(self._document.pixels(object_id), by_px), "the shrinking"
        )

    def fill_holes(self, object_id: int, overwrite: bool = False) -> AnnotatedObject:
        """Fill the holes of an object; other objects in them stay unless they may be overwritten.

        Raises:
            UnknownNameError: If there is no such object.
        """
        mask = shaping.filled(self._document.pixels(object_id))
        return self._reshape(object_id, mask, "the filling of holes", overwrite)

    def smooth(self, object_id: int, radius_px: int = 3) -> AnnotatedObject:
        """Round an object's outline off; other objects keep their pixels.

        Raises:
            PromptError: If nothing would be left.
            UnknownNameError: If there is no such object.
        """
        mask = shaping.smoothed(self._document.pixels(object_id), radius_px, self._document.hw)
        return self._reshape(object_id, mask, "the smoothing")

    def _split(self, object_id: int, parts: list[LocalMask], why_not: str) -> list[AnnotatedObject]:
        record = self._document.record(object_id)
        if len(parts) < 2:
            raise PromptError(
                f"The object {object_id} {why_not}, so it was not split; draw the line through it."
            )
        start = self._document.next_id
        verify = review_steps(record)
        agreed = replace(record, reviewed=record.reviewed or bool(verify))
        new = tuple((replace(agreed, id=start + offset), mask) for offset, mask in enumerate(parts[1:]))
        self._do(Batch((Add(new), *verify), "the split"))
        return [self._document.record(one) for one in (object_id, *(item.id for item, _ in new))]

    def _reshape(
        self, object_id: int, mask: LocalMask, name: str, overwrite: bool = False
    ) -> AnnotatedObject:
        """Give an object exactly the pixels of a mask, as far as they are free."""
        steps = reshaped(self._document, object_id, mask, overwrite)
        self._do(Batch(steps, name))
        return self._document.record(object_id)
