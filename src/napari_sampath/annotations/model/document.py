"""Objects of one image, stored in an instance map from which the class map is derived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np

from ...arrays import BoolArray, ClassInfo, LocalMask, halves
from ...errors import UnknownNameError
from ...tiling import step_for
from ..masks.masks import Box
from ..masks.steps import pieces
from ..masks.tile_store import TileStore
from ..masks.tiled_map import LookupMap, TiledMap
from .annotated_object import TRUSTED, UNSURE, AnnotatedObject
from .classes import ClassList
from .patch import Patch, Region, TileChange

_TABLE = 256
"""Initial length of the lookup tables from object id to class and trust, which grow as needed."""

_PART_PX = 4096
"""Side of the parts into which the mask of a large object is divided."""


class Document:
    """Instance map of an image, records of its objects, and the maps derived from both.

    Where the instance map holds id i > 0, the class map holds the class of object i; elsewhere both are 0. All maps
    have the size of the image, but only annotated tiles use memory (`TiledMap`). Change a document only with
    `perform`, which returns a `Patch`.

    Args:
        hw: Size (H, W) of the image in pixels.
        classes: Initial classes.
    """

    def __init__(self, hw: tuple[int, int], classes: Iterable[ClassInfo] = ()) -> None:
        self.hw = hw
        self.classes = ClassList(classes)
        store = TileStore()
        self.instance_map = TiledMap(hw, np.int32, store=store)
        """(H, W) int32, 0 for no object."""
        self.class_map = LookupMap(self.instance_map, np.zeros(_TABLE, dtype=np.uint8))
        """(H, W) uint8, class id of the object at each pixel, 0 for no object."""
        self.trust_map = LookupMap(self.instance_map, np.zeros(_TABLE, dtype=np.uint8))
        """(H, W) uint8, `AnnotatedObject.trust` of the object at each pixel."""
        self.verified_map = TiledMap(hw, np.bool_, store=store)
        """(H, W) bool, True in areas that a person has marked as complete."""
        self.objects: dict[int, AnnotatedObject] = {}
        """Object id -> record."""
        self.next_id = 1
        """Id of the next new object."""
        self.reader = ""
        """Name of the person who changes the document, recorded with the objects; "" for none."""
        self.journal: Path | None = None
        """The journal, beside which the objects of large steps are written; None keeps everything in memory."""

    @property
    def tile_store(self) -> TileStore:
        """Store of the packed tiles of the maps."""
        return self.instance_map.store

    def pixels(self, object_id: int) -> LocalMask:
        """Return the current mask of an object, with a step above 1 if its bitmap would exceed 16 MiB.

        Raises:
            UnknownNameError: If there is no such object.
        """
        box = self.record(object_id).box
        step = step_for(box)
        r0, c0 = box[0] // step * step, box[1] // step * step
        bits = self._bits(object_id, (r0, c0, box[2], box[3]), step)
        return LocalMask.from_dense(bits, r0, c0, step)

    def parts(self, object_id: int) -> Iterator[LocalMask]:
        """Yield masks of at most 4,096 px that together are exactly the pixels of an object.

        Raises:
            UnknownNameError: If there is no such object.
        """
        r0, c0, r1, c1 = self.record(object_id).box
        for top in range(r0, r1, _PART_PX):
            for left in range(c0, c1, _PART_PX):
                box = (top, left, min(top + _PART_PX, r1), min(left + _PART_PX, c1))
                part = LocalMask.from_dense(self._bits(object_id, box, 1), top, left)
                if part.bitmap.size:
                    yield part

    def _bits(self, object_id: int, box: Box, step: int) -> BoolArray:
        """Return which elements of a box belong to an object by at least half of their pixels."""
        if step == 1:
            inside: BoolArray = self.instance_map.window(box) == object_id
            return inside
        r0, c0, r1, c1 = box
        bits = np.zeros((-(-(r1 - r0) // step), -(-(c1 - c0) // step)), dtype=np.bool_)
        # Whole elements of tiles, because a step divides the side of a tile.
        for top, left, bottom, right in self.instance_map.tiles_in([box]):
            rows = slice((top - r0) // step, -((r0 - bottom) // step))
            cols = slice((left - c0) // step, -((c0 - right) // step))
            value = self.instance_map.uniform((top, left, bottom, right))
            if value is None:
                part = self.instance_map.window((top, left, bottom, right)) == object_id
                bits[rows, cols] = halves(part, step)
            else:
                bits[rows, cols] = value == object_id
        return bits

    def counts_under(self, mask: LocalMask) -> dict[int, int]:
        """Count the pixels of each object under a mask: object id -> number of pixels."""
        counts: Counter[int] = Counter()
        for piece, bits in pieces(mask, self.hw):
            for box, value in self.instance_map.runs(piece) if bits is None else [(piece, None)]:
                if value is not None:
                    counts[value] += (box[2] - box[0]) * (box[3] - box[1])
                    continue
                part = self.instance_map.window(box)
                values = part.ravel() if bits is None else part[bits]
                if values.size and values.min() == values.max():  # Quicker than sorting all pixels
                    counts[int(values[0])] += values.size
                    continue
                ids, numbers = np.unique(values, return_counts=True)
                counts.update(dict(zip(ids.tolist(), numbers.tolist(), strict=True)))
        del counts[0]
        return counts

    def object_at(self, row: int, col: int) -> int:
        """Return the id of the object at a pixel; 0 if there is no object or the pixel lies outside the image."""
        inside = 0 <= row < self.hw[0] and 0 <= col < self.hw[1]
        return int(self.instance_map[row, col]) if inside else 0

    def record(self, object_id: int) -> AnnotatedObject:
        """Return the record of an object.

        Raises:
            UnknownNameError: If there is no such object.
        """
        try:
            return self.objects[object_id]
        except KeyError:
            raise UnknownNameError(
                f"The image has no object {object_id}; choose an existing object."
            ) from None

    def revert(self, patch: Patch) -> None:
        """Undo a patch; it must be the last one applied."""
        for region in reversed(patch.regions):
            region.write(region.before, self._map_of(region))
        for change in patch.tiles:
            self._map_of(change).exchange(change.after, change.before)
        if patch.classes is not None:
            self.classes.restore(patch.classes[0])
        self.put_all(patch.before)

    def reapply(self, patch: Patch) -> None:
        """Redo a patch that was reverted."""
        for region in patch.regions:
            region.write(region.after, self._map_of(region))
        for change in patch.tiles:
            self._map_of(change).exchange(change.before, change.after)
        if patch.classes is not None:
            self.classes.restore(patch.classes[1])
        self.put_all(patch.after)

    def verified(self, box: Box) -> BoolArray:
        """Return the mask of the pixels of a box (r0, c0, r1, c1) that lie in a verified object or area."""
        return _verified(self.trust_map, self.verified_map, box)

    def verified_snapshot(self) -> Callable[[Box], BoolArray]:
        """Return a function like `verified` for the current document, to call in another thread; copies no pixels."""
        trust = self.trust_map.snapshot(self.instance_map.snapshot())
        return partial(_verified, trust, self.verified_map.snapshot())

    def snapshot(self) -> tuple[LookupMap, TiledMap]:
        """Return snapshots of class map and instance map for another thread; copies no pixels."""
        instances = self.instance_map.snapshot()
        return self.class_map.snapshot(instances), instances

    def fork(self) -> Document:
        """Return a copy that can be changed in another thread; copies no pixels."""
        copy = Document(self.hw, self.classes)
        copy.instance_map.become(self.instance_map.snapshot())
        copy.verified_map.become(self.verified_map.snapshot())
        copy.class_map.table, copy.trust_map.table = self.class_map.table.copy(), self.trust_map.table.copy()
        copy.objects = dict(self.objects)
        copy.next_id = self.next_id
        copy.reader, copy.journal = self.reader, self.journal
        return copy

    def become(self, fork: Document) -> None:
        """Take over the content of a fork without copying pixels; do not use the fork afterwards.

        This document must not have changed since it was forked.
        """
        self.instance_map.become(fork.instance_map)
        self.verified_map.become(fork.verified_map)
        self.class_map.table, self.trust_map.table = fork.class_map.table, fork.trust_map.table
        self.objects.clear()
        self.objects.update(fork.objects)
        self.next_id = fork.next_id
        if self.classes != fork.classes:
            self.classes.restore(fork.classes)

    def put(self, object_id: int, record: AnnotatedObject | None) -> None:
        """Set the record of an object, or remove it if None; called only by `Recorder` and `restore`."""
        self._grow_tables(object_id)
        if record is None:
            self.objects.pop(object_id, None)
            self.class_map.table[object_id] = self.trust_map.table[object_id] = 0
        else:
            self.objects[object_id] = record
            self.class_map.table[object_id] = record.class_id
            self.trust_map.table[object_id] = record.trust

    def put_all(self, records: Mapping[int, AnnotatedObject | None]) -> None:
        """Set or remove records like `put`; 100,000 of them do not block a window."""
        if not records:
            return
        self._grow_tables(max(records))
        present = [record for record in records.values() if record is not None]
        ids = np.fromiter(records, np.int64, len(records))
        kept = np.fromiter(map(attrgetter("id"), present), np.int64, len(present))
        for lookup, name in ((self.class_map, "class_id"), (self.trust_map, "trust")):
            lookup.table[ids] = 0
            lookup.table[kept] = np.fromiter(map(attrgetter(name), present), np.uint8, len(present))
        for object_id, record in records.items():
            if record is None:
                self.objects.pop(object_id, None)
            else:
                self.objects[object_id] = record

    def _grow_tables(self, object_id: int) -> None:
        for lookup in (self.class_map, self.trust_map):
            if object_id >= len(lookup.table):
                lookup.table = np.concatenate(
                    [lookup.table, np.zeros_like(lookup.table, shape=object_id + 1)]
                )

    def _map_of(self, change: Region | TileChange) -> TiledMap:
        return self.verified_map if change.verified else self.instance_map


def _verified(trust_map: LookupMap, verified_map: TiledMap, box: Box) -> BoolArray:
    trust = trust_map.window(box)
    verified: BoolArray = (trust == TRUSTED) | (verified_map.window(box) & (trust != UNSURE))
    return verified
