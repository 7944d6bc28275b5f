"""Choice of the outline of each object of a slide, as `choose_outlines` does for all objects of an image at once.

An object cannot get the pixels that the head gave to others, nor those in the outline of an object with a better
predicted IoU. So its outline depends on the objects with a better one whose masks overlap its own, and on theirs in
turn. These are looked up one after another, in whatever block they are, and nothing depends on the order.
"""

from __future__ import annotations

import shutil
from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import LocalMask
from ...formats.maps.slide_outlines import Outlines, OutlineStore
from ..instances.resolve_outlines import first_pixel, matching_outline
from .chunks import Chunks

if TYPE_CHECKING:
    from ...arrays import BoolArray, FloatArray, IntArray
    from ...formats.maps.slide_objects import ObjectTable
    from ..instances.settings import InstanceSettings

Unit = tuple[str, int, int]
"""(name of a block or large component, number of its first object, number of objects)."""
_OPEN = 9
"""Number of units whose masks are in memory: a block and its neighbours."""
_REPORT = 256
"""Number of objects between two reports."""


def refine_outlines(
    numbers: Any,
    table: ObjectTable,
    units: Sequence[Unit],
    store: OutlineStore,
    settings: InstanceSettings,
    folder: Path,
) -> Generator[None, None, tuple[ObjectTable, FloatArray]]:
    """Give the objects of a slide the outlines of the decoder.

    Args:
        numbers: (H, W) array on disk with the numbers of the objects that the head found; it is changed.
        table: These objects.
        units: The units with their objects; objects of no unit keep their outlines.
        store: The outlines of the units.
        settings: Condition on which an outline is used.
        folder: Folder for temporary files.

    Yields:
        Nothing, from time to time.

    Returns:
        The objects with their outlines, and the (N,) predicted IoU, NaN for objects with the outline of the head.
    """
    chunks = Chunks(numbers)
    choice = _Choice(chunks, table, units, store, settings)
    chosen = OutlineStore(folder / "chosen")
    scores = np.full(len(table), np.nan, np.float32)
    for name, first, count in units:
        accepted = []
        for number in range(first, first + count):
            if number % _REPORT == 0:
                yield
            outline = choice.outline(number)
            accepted.append(None if outline is None else (outline, float(choice.scores[number])))
        chosen.write(name, Outlines.of(accepted))
        choice.forget(first, count)
    area, box, first_rc = table.area_px.copy(), table.box.copy(), table.first_rc.copy()
    # The choice depends on the numbers of the head, so they are changed last.
    for name, first, _ in units:
        outlines = chosen.read(name)
        for row in np.flatnonzero(outlines.box[:, 2] > outlines.box[:, 0]).tolist():
            number, outline = first + row, outlines.mask(row)
            if number % _REPORT == 0:
                yield
            _paint(chunks, number, table.box[number - 1], outline)
            scores[number - 1] = outlines.predicted_iou[row]
            area[number - 1], box[number - 1] = outline.area_px, outlines.box[row]
            first_rc[number - 1] = first_pixel(outline)
    chunks.flush()
    shutil.rmtree(chosen.folder, ignore_errors=True)
    return replace(table, area_px=area, box=box, first_rc=first_rc), scores


def _paint(chunks: Chunks, number: int, head_box: IntArray, outline: LocalMask) -> None:
    """Replace the pixels of an object by those of its outline."""
    rows, cols = outline.slices
    for box, is_outline in (
        (tuple(head_box.tolist()), False),
        ((rows.start, cols.start, rows.stop, cols.stop), True),
    ):
        values = chunks.read(box)
        if is_outline:
            values[outline.bitmap] = number
        else:
            values[values == number] = 0
        chunks.write(box, values)


class _Choice:
    """Chooses outlines; see `refine_outlines` for the arguments."""

    def __init__(
        self,
        chunks: Chunks,
        table: ObjectTable,
        units: Sequence[Unit],
        store: OutlineStore,
        settings: InstanceSettings,
    ) -> None:
        self._chunks = chunks
        self._table = table
        self._units = units
        self._store = store
        self._settings = settings
        self._open: OrderedDict[int, Outlines] = OrderedDict()
        self._known: dict[int, LocalMask | None] = {}
        self._boxes = np.zeros((len(table) + 1, 4), np.int64)
        self.scores = np.zeros(len(table) + 1, np.float32)
        """Predicted IoU of each object, by number."""
        self._bounds = np.zeros((len(units), 4), np.int64)
        """Bounding box of all masks of each unit."""
        for index, (name, first, count) in enumerate(units):
            outlines = store.read(name)
            self._boxes[first : first + count] = outlines.box
            self.scores[first : first + count] = outlines.predicted_iou
            filled = outlines.box[outlines.box[:, 2] > outlines.box[:, 0]]
            if len(filled):
                self._bounds[index] = *filled[:, :2].min(axis=0), *filled[:, 2:].max(axis=0)
        self._firsts = np.array([first for _, first, _ in units])

    def outline(self, number: int) -> LocalMask | None:
        """Return the outline of an object by the decoder; None if that of the head is kept."""
        waiting = [number]
        while waiting:
            current = waiting[-1]
            if current not in self._known:
                available = self._available(current)
                rivals = self._rivals(current, available)
                unknown = [rival for rival in rivals if rival not in self._known]
                if unknown:
                    waiting += unknown
                    continue
                for rival in rivals:
                    _remove(available, self._known[rival])
                free = LocalMask.from_dense(available.bitmap, available.row, available.col)
                self._known[current] = matching_outline(free, self._head_mask(current), self._settings)
            waiting.pop()
        return self._known[number]

    def forget(self, first: int, count: int) -> None:
        """Free the outlines of these objects; they are chosen again if they are needed."""
        for number in range(first, first + count):
            self._known.pop(number, None)

    def _mask(self, number: int) -> LocalMask:
        """Return the decoder's mask of an object."""
        unit = int(np.searchsorted(self._firsts, number, side="right")) - 1
        name, first, _ = self._units[unit]
        if unit not in self._open:
            self._open[unit] = self._store.read(name)
            while len(self._open) > _OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(unit)
        return self._open[unit].mask(number - first)

    def _head_mask(self, number: int) -> LocalMask:
        r0, c0, r1, c1 = self._table.box[number - 1].tolist()
        return LocalMask(r0, c0, self._chunks.read((r0, c0, r1, c1)) == number)

    def _available(self, number: int) -> LocalMask:
        """Return the decoder's mask of an object without the pixels that the head gave to others."""
        mask = self._mask(number)
        owners = self._chunks.read(tuple(self._boxes[number].tolist()))
        return replace(mask, bitmap=mask.bitmap & ((owners == 0) | (owners == number)))

    def _rivals(self, number: int, available: LocalMask) -> list[int]:
        """Return the objects with a better predicted IoU whose masks contain pixels that are available to this one."""
        box = self._boxes[number]
        rivals: list[int] = []
        for unit in np.flatnonzero(_overlap(self._bounds, box)).tolist():
            _, first, count = self._units[unit]
            part = slice(first, first + count)
            close = _overlap(self._boxes[part], box) & (self.scores[part] >= self.scores[number])
            rivals += (np.flatnonzero(close) + first).tolist()
        rank = self._rank(number)
        return [
            rival
            for rival in rivals
            if self._rank(rival) < rank
            and (available.bitmap & self._mask(rival).window(_box_of(available))).any()
        ]

    def _rank(self, number: int) -> tuple[float, ...]:
        """Return the sort key of an object; objects with smaller keys get their outlines first."""
        table, row = self._table, number - 1
        return -float(self.scores[number]), int(table.class_id[row]), *map(int, table.first_rc[row])


def _overlap(boxes: IntArray, box: IntArray) -> BoolArray:
    """Return which boxes (N, 4) overlap a box."""
    r0, c0, r1, c1 = box.tolist()
    overlap: BoolArray = (boxes[:, 0] < r1) & (boxes[:, 1] < c1) & (boxes[:, 2] > r0) & (boxes[:, 3] > c0)
    return overlap


def _box_of(mask: LocalMask) -> tuple[int, int, int, int]:
    rows, cols = mask.slices
    return rows.start, cols.start, rows.stop, cols.stop


def _remove(mask: LocalMask, other: LocalMask | None) -> None:
    """Remove the pixels of another mask from a mask, in place."""
    if other is not None:
        mask.bitmap[other.window(_box_of(mask))] = False
