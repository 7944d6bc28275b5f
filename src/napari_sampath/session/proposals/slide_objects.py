"""Objects in the result of a slide that are added to the annotations, or exported with them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...annotations import Box, Document, perform
from ...arrays import LocalMask
from ...errors import ConfigError, UnknownNameError
from ...formats.maps.slide_objects import SlideObjects, objects_of
from ...jobs import Job, Progress
from .new_objects import NewObject, NewObjects
from .plan import plan_addition

if TYPE_CHECKING:
    from ...arrays import BoolArray, IntArray
    from ...formats.maps.slide_result import SlideResult

_BATCH = 256
"""Number of objects that are added to a document at once."""
_TILE_PX = 2048
"""Side of the tiles of the result that are read at once; larger objects are read one by one."""


def slide_objects_in_job(
    result: SlideResult, head: str, box: Box | None = None, classes: Collection[str] | None = None
) -> Job[NewObjects]:
    """Make a job that chooses objects of a result; their pixels are read when they are added.

    Args:
        result: The result, with objects.
        head: Name of the head.
        box: (r0, c0, r1, c1) in level-0 pixels of the slide that the objects overlap; None for the whole slide.
        classes: Names of the classes of the head whose objects are read; None for all.

    Raises:
        UnknownNameError: If the head has no such class.
    """
    names = {info.name: info.id for info in result.classes_of_head if info.id}
    for name in classes or ():
        if name not in names:
            raise UnknownNameError(
                f"The head '{head}' has no class '{name}'; choose one of {', '.join(names)}."
            )
    objects = objects_of(Path(result.path))
    if objects is None:
        return NewObjects((), (), head, box)
    wanted = np.ones(len(objects.table), dtype=np.bool_)
    if box is not None:
        r0, c0, r1, c1 = (value / result.factor for value in box)
        top, left, bottom, right = objects.table.box.T
        wanted &= (top < r1) & (bottom > r0) & (left < c1) & (right > c0)
    if classes is not None:
        wanted &= np.isin(objects.table.class_id, [names[name] for name in classes])
    rows = np.flatnonzero(wanted)
    yield Progress(0, 0, "Reading the objects")
    new = _Rows(objects, rows, result.factor)
    used = set(objects.table.class_id[rows].tolist())
    return NewObjects(new, tuple(info for info in result.classes_of_head if info.id in used), head, box)


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
    count, done = len(objects.table), 0
    read = _read_rows(objects, np.arange(count), result.factor)
    while new := list(islice(read, _BATCH)):
        yield Progress(done, count, "Reading the objects", "objects")
        done += len(new)
        operation = plan_addition(document, _new_objects(new, result, head), keep_existing=True)
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
        (new,) = _read_rows(self._objects, np.array([number - 1]), factor)
        rows, cols = new.mask.slices
        return _new_objects([new], self._result, self._head, (rows.start, cols.start, rows.stop, cols.stop))


class _Rows(Sequence[NewObject]):
    """The objects in rows of the table, read at each iteration; thousands of masks are never held at the same time."""

    def __init__(self, objects: SlideObjects, rows: IntArray, factor: float) -> None:
        self._objects, self._rows, self._factor = objects, rows, factor

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def __iter__(self) -> Iterator[NewObject]:
        return _read_rows(self._objects, self._rows, self._factor)


def _read_rows(objects: SlideObjects, rows: IntArray, factor: float) -> Iterator[NewObject]:
    """Read the objects in rows of the table, tile by tile."""
    table = objects.table
    for group in _by_tile(table.box[rows]):
        group_rows = rows[group]
        r0, c0 = table.box[group_rows, :2].min(axis=0).tolist()
        r1, c1 = table.box[group_rows, 2:].max(axis=0).tolist()
        numbers = objects.numbers((r0, c0, r1, c1))
        for row in group_rows.tolist():
            top, left, bottom, right = table.box[row].tolist()
            bits = numbers[top - r0 : bottom - r0, left - c0 : right - c0] == row + 1
            mask = level0_mask(bits, (top, left), factor)
            yield NewObject(int(table.class_id[row]), mask, float(table.score[row]))


def _by_tile(boxes: IntArray) -> Iterator[IntArray]:
    """Divide boxes (N, 4) into groups, as indices, that begin in one tile; a box larger than a tile is a group."""
    tile = boxes[:, :2] // _TILE_PX
    is_large = (boxes[:, 2:] - boxes[:, :2] > _TILE_PX).any(axis=1)
    tile[is_large, 0] = -1 - np.flatnonzero(is_large)
    order = np.lexsort((tile[:, 1], tile[:, 0]))
    changes = np.flatnonzero((np.diff(tile[order], axis=0) != 0).any(axis=1)) + 1
    return (group for group in np.split(order, changes) if group.size)


def _new_objects(new: list[NewObject], result: SlideResult, head: str, box: Box | None = None) -> NewObjects:
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
