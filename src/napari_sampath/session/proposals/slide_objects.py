"""Objects in the result of a slide that are added to the annotations, or exported with them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...annotations import Box, Document, perform
from ...arrays import LocalMask
from ...errors import ConfigError
from ...formats.maps.slide_objects import SlideObjects, objects_of
from ...jobs import Job, Progress
from .new_objects import NewObject, NewObjects
from .plan import plan_addition

if TYPE_CHECKING:
    from ...arrays import BoolArray
    from ...formats.maps.slide_result import SlideResult

MAX_OBJECTS = 20_000
"""Largest number of objects that are added at once."""
_REPORT, _BATCH = 64, 256
"""Number of objects that are read between two reports, and that are added to a document at once."""


def slide_objects_in_job(result: SlideResult, head: str, box: Box) -> Job[NewObjects]:
    """Make a job that reads the objects that overlap a box of a slide, with all their pixels.

    Args:
        result: The result, with objects.
        head: Name of the head.
        box: (r0, c0, r1, c1) in level-0 pixels of the slide.

    Raises:
        ConfigError: If there are more than `MAX_OBJECTS`.
    """
    objects = objects_of(Path(result.path))
    if objects is None:
        return NewObjects((), (), head, box)
    r0, c0, r1, c1 = (value / result.factor for value in box)
    boxes = objects.table.box
    inside = (boxes[:, 0] < r1) & (boxes[:, 2] > r0) & (boxes[:, 1] < c1) & (boxes[:, 3] > c0)
    rows = np.flatnonzero(inside)
    if len(rows) > MAX_OBJECTS:
        raise ConfigError(
            f"There are {len(rows):,} objects in this region, and at most {MAX_OBJECTS:,} are added at once; zoom in "
            "and choose the view, or draw a smaller box."
        )
    new = []
    for done, row in enumerate(rows):
        if done % _REPORT == 0:
            yield Progress(done, len(rows), "Reading the objects", "objects")
        new.append(_read(objects, int(row), result.factor))
    return _new_objects(new, result, head, box)


def add_result_job(document: Document, result: SlideResult, head: str) -> Job[None]:
    """Make a job that adds all objects of a result to a document, such as a fork that is exported.

    Existing objects keep their pixels.

    Args:
        document: The document; it is changed by the job.
        result: The result.
        head: Name of the head.

    Raises:
        ConfigError: If the objects of the result have not been separated.
    """
    objects = objects_of(Path(result.path))
    if objects is None:
        raise ConfigError(
            f"The result '{result.path}' has no objects; run 'sampath segment' with --objects on it first."
        )
    count = len(objects.table)
    for first in range(0, count, _BATCH):
        yield Progress(first, count, "Reading the objects", "objects")
        new = [_read(objects, row, result.factor) for row in range(first, min(first + _BATCH, count))]
        whole = (0, 0, *document.hw)
        operation = plan_addition(document, _new_objects(new, result, head, whole), keep_existing=True)
        if operation is not None:
            perform(document, operation)
    yield Progress(count, count, "Reading the objects", "objects")


class UntouchedObjects:
    """The objects of a complete result, of which single ones become annotations when a person uses a tool on them.

    Args:
        result: The result.
        head: Name of the head.
    """

    def __init__(self, result: SlideResult, head: str) -> None:
        self._result = result
        self._head = head
        self._objects = objects_of(Path(result.path))

    def add_to_job(self, document: Document) -> Job[None]:
        """Make a job that adds all of them to a document; see `add_result_job`."""
        return add_result_job(document, self._result, self._head)

    def at(self, row: int, col: int) -> NewObjects | None:
        """Return the object at a level-0 pixel of the slide; None if there is none."""
        factor, (height, width) = self._result.factor, self._result.hw
        r, c = int((row + 0.5) / factor), int((col + 0.5) / factor)
        if self._objects is None or not (0 <= r < height and 0 <= c < width):
            return None
        number = int(self._objects.numbers((r, c, r + 1, c + 1))[0, 0])
        if number == 0:
            return None
        new = _read(self._objects, number - 1, factor)
        rows, cols = new.mask.slices
        return _new_objects([new], self._result, self._head, (rows.start, cols.start, rows.stop, cols.stop))


def _read(objects: SlideObjects, row: int, factor: float) -> NewObject:
    """Read the object in a row of the table."""
    place = tuple(map(int, objects.table.box[row]))
    bits: BoolArray = objects.numbers(place) == row + 1  # type: ignore[arg-type]
    mask = level0_mask(bits, place[:2], factor)  # type: ignore[arg-type]
    return NewObject(int(objects.table.class_id[row]), mask, float(objects.table.score[row]))


def _new_objects(new: list[NewObject], result: SlideResult, head: str, box: Box) -> NewObjects:
    used = {obj.class_id for obj in new}
    classes = tuple(info for info in result.classes_of_head if info.id in used)
    return NewObjects(tuple(new), classes, head, box)


def level0_mask(bits: BoolArray, origin_rc: tuple[int, int], factor: float) -> LocalMask:
    """Scale a mask of a result to level-0 pixels of the slide.

    Args:
        bits: (h, w) bool.
        origin_rc: Its first pixel (row, col) in the result.
        factor: Level-0 pixels per pixel of the result.
    """
    if factor == 1:
        return LocalMask.from_dense(bits, *origin_rc)
    # Each level-0 pixel belongs to the pixel of the result that contains its centre
    spans = []
    for first, length in zip(origin_rc, bits.shape, strict=True):
        start, stop = math.ceil(first * factor - 0.5), math.ceil((first + length) * factor - 0.5)
        index = np.floor((np.arange(start, stop) + 0.5) / factor).astype(np.int64) - first
        spans.append((start, np.clip(index, 0, length - 1)))
    (top, rows), (left, cols) = spans
    return LocalMask.from_dense(bits[rows[:, None], cols], top, left)
