"""Edit objects (split, merge, reshape, review) and list them."""

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
from .audit import Finding, repair
from .object_rows import Column, ObjectRow, make_row, sort_rows
from .overlap import merged_record
from .reshaping import reshaped, review_steps

Do: TypeAlias = Callable[[Operation], None]


class ObjectTools:
    """Edits the objects of a session; each edit is saved as one undo step.

    An edited proposal counts as reviewed. Deleted or erased pixels become verified background, so that heads do not
    propose objects there again.

    Args:
        document: The document.
        do: Performs and saves an operation.
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
            sort_by: Column to sort by; objects without a value come last in both directions.
            descending: Sort in descending order.
            only: Predicate that returns True for the rows to list; all rows by default.
        """
        names = {info.id: info.name for info in self._document.classes}
        rows = (make_row(obj, names[obj.class_id]) for obj in self._document.objects.values())
        return sort_rows(rows if only is None else filter(only, rows), sort_by, descending)

    def row(self, object_id: int) -> ObjectRow | None:
        """Return the row of an object; None if it does not exist."""
        obj = self._document.objects.get(object_id)
        return None if obj is None else make_row(obj, self._document.classes.by_id(obj.class_id).name)

    def across(self, start_xy: tuple[float, float], stop_xy: tuple[float, float]) -> int:
        """Return the id of the object under most of the line between two points (x, y); 0 if there is none.

        As for clicks, pixel (row i, column j) has its centre at x = j, y = i.
        """
        steps = 2 + 2 * int(max(abs(stop_xy[0] - start_xy[0]), abs(stop_xy[1] - start_xy[1])))
        pixels = np.linspace(start_xy, stop_xy, steps).round().astype(int)
        inside = ((pixels >= 0) & (pixels < self._document.hw[::-1])).all(axis=1)
        cols, rows = pixels[inside].T
        on_line = self._document.instance_map[rows, cols]
        ids, counts = np.unique(on_line[on_line > 0], return_counts=True)
        return int(ids[counts.argmax()]) if len(ids) else 0

    def component_count(self, object_id: int) -> int:
        """Return the number of connected components (8-connected) of an object.

        Raises:
            UnknownNameError: If there is no such object.
        """
        return len(shaping.components(self._document.pixels(object_id)))

    def delete(self, ids: Iterable[int]) -> None:
        """Delete objects and mark their pixels as verified background.

        Raises:
            UnknownNameError: If an object does not exist.
        """
        deletion = Delete(tuple(ids))
        background = (Verify(part) for object_id in deletion.ids for part in self._document.parts(object_id))
        self._do(Batch((deletion, *background), label(deletion)))

    def reclassify(self, ids: Iterable[int], class_id: int) -> None:
        """Change the class of objects and mark proposals among them as reviewed.

        Raises:
            UnknownNameError: If an object or the class does not exist.
        """
        change = Reclassify(tuple(ids), class_id)
        review = review_steps(*map(self._document.record, change.ids))
        self._do(Batch((change, *review), label(change)) if review else change)

    def flag(self, ids: Iterable[int], flag: FlagName, value: bool = True) -> None:
        """Set or clear the flag "reviewed" or "unsure" of objects.

        Raises:
            UnknownNameError: If an object does not exist.
        """
        self._do(Flag(tuple(ids), flag, value))

    def repair(self, findings: Iterable[Finding]) -> None:
        """Repair findings of the audit as one undo step; objects that no longer exist are skipped."""
        operation = repair(self._document, findings)
        if operation.operations:
            self._do(operation)

    def merge(self, ids: Iterable[int]) -> AnnotatedObject:
        """Merge objects, touching or not; the result keeps the id and class of the first and counts as reviewed.

        Source, score and prompts are those of the largest object, see `overlap.merged_record`.

        Raises:
            PromptError: If there are fewer than two objects.
            UnknownNameError: If an object does not exist.
        """
        first, *others = list(dict.fromkeys(ids)) or [0]
        if not others:
            raise PromptError("A merge needs at least two objects; select another object.")
        parts = [self._document.record(object_id) for object_id in (first, *others)]
        record = merged_record(parts, sum(part.area_px for part in parts))
        masks = shaping.exact_union([part for key in others for part in self._document.parts(key)])
        self._do(Batch((Add(tuple((record, mask) for mask in masks)), *review_steps(record)), "the merge"))
        return self._document.record(first)

    def split_components(self, object_id: int) -> list[AnnotatedObject]:
        """Split an object into its connected components; the largest keeps the id.

        Raises:
            PromptError: If there is only one component.
            UnknownNameError: If there is no such object.
        """
        parts = shaping.components(self._document.pixels(object_id))
        return self._split(object_id, parts, "has one connected component")

    def split_line(
        self, object_id: int, start_xy: tuple[float, float], stop_xy: tuple[float, float]
    ) -> list[AnnotatedObject]:
        """Split an object along the straight line through two points (x, y); the larger side keeps the id.

        Raises:
            PromptError: If the line does not cross the object.
            UnknownNameError: If there is no such object.
        """
        parts = shaping.split(self._document.pixels(object_id), start_xy, stop_xy)
        return self._split(object_id, parts, "lies on one side of the line")

    def grow(self, object_id: int, by_px: int, overwrite: bool = False) -> AnnotatedObject:
        """Grow an object by a distance in pixels; `overwrite` includes pixels of other objects.

        Raises:
            UnknownNameError: If there is no such object.
        """
        mask = shaping.grown(self._document.pixels(object_id), by_px, self._document.hw)
        return self._reshape(object_id, mask, "the enlargement", overwrite)

    def shrink(self, object_id: int, by_px: int) -> AnnotatedObject:
        """Shrink an object by a distance in pixels.

        Raises:
            PromptError: If the object would have no pixels left.
            UnknownNameError: If there is no such object.
        """
        mask = shaping.shrunk(self._document.pixels(object_id), by_px)
        return self._reshape(object_id, mask, "the shrinkage")

    def fill_holes(self, object_id: int, overwrite: bool = False) -> AnnotatedObject:
        """Fill the holes of an object; `overwrite` includes pixels of other objects.

        Raises:
            UnknownNameError: If there is no such object.
        """
        mask = shaping.filled(self._document.pixels(object_id))
        return self._reshape(object_id, mask, "the filling of holes", overwrite)

    def smooth(self, object_id: int, radius_px: int = 3) -> AnnotatedObject:
        """Smooth the outline of an object with a median filter; other objects keep their pixels.

        Raises:
            PromptError: If the object would have no pixels left.
            UnknownNameError: If there is no such object.
        """
        mask = shaping.smoothed(self._document.pixels(object_id), radius_px, self._document.hw)
        return self._reshape(object_id, mask, "the smoothing")

    def _split(self, object_id: int, parts: list[LocalMask], why_not: str) -> list[AnnotatedObject]:
        record = self._document.record(object_id)
        if len(parts) < 2:
            raise PromptError(
                f"The object {object_id} {why_not} and cannot be split; draw a line through it."
            )
        review = review_steps(record)
        reviewed = replace(record, reviewed=record.reviewed or bool(review))
        new = tuple(
            (replace(reviewed, id=new_id), mask)
            for new_id, mask in enumerate(parts[1:], start=self._document.next_id)
        )
        self._do(Batch((Add(new), *review), "the split"))
        return [self._document.record(part_id) for part_id in (object_id, *(part.id for part, _ in new))]

    def _reshape(
        self, object_id: int, mask: LocalMask, name: str, overwrite: bool = False
    ) -> AnnotatedObject:
        """Replace the pixels of an object by the free pixels of a mask."""
        steps = reshaped(self._document, object_id, mask, overwrite)
        self._do(Batch(steps, name))
        return self._document.record(object_id)
