"""Objects of one image, stored in an instance map from which the class map is derived."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from ...arrays import BoolArray, ClassInfo, LocalMask
from ...errors import UnknownNameError
from ..masks.masks import Box
from ..masks.tiled_map import LookupMap, TiledMap
from .annotated_object import TRUSTED, UNSURE, AnnotatedObject
from .classes import ClassList
from .patch import Patch, Region

_TABLE = 256
"""Initial length of the lookup tables from object id to class and trust, which grow as needed."""


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
        self.instance_map = TiledMap(hw, np.int32)
        """(H, W) int32, 0 for no object."""
        self.class_map = LookupMap(self.instance_map, np.zeros(_TABLE, dtype=np.uint8))
        """(H, W) uint8, class id of the object at each pixel, 0 for no object."""
        self.trust_map = LookupMap(self.instance_map, np.zeros(_TABLE, dtype=np.uint8))
        """(H, W) uint8, `AnnotatedObject.trust` of the object at each pixel."""
        self.verified_map = TiledMap(hw, np.bool_)
        """(H, W) bool, True in areas that a person has marked as complete."""
        self.objects: dict[int, AnnotatedObject] = {}
        """Object id -> record."""
        self.next_id = 1
        """Id of the next new object."""

    def pixels(self, object_id: int) -> LocalMask:
        """Return the current mask of an object.

        Raises:
            UnknownNameError: If there is no such object.
        """
        r0, c0, r1, c1 = self.record(object_id).box
        return LocalMask.from_dense(self.instance_map.window((r0, c0, r1, c1)) == object_id, r0, c0)

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
        if patch.classes is not None:
            self.classes.restore(patch.classes[0])
        for object_id, (before, _) in (patch.records or {}).items():
            self.put(object_id, before)

    def reapply(self, patch: Patch) -> None:
        """Redo a patch that was reverted."""
        for region in patch.regions:
            region.write(region.after, self._map_of(region))
        if patch.classes is not None:
            self.classes.restore(patch.classes[1])
        for object_id, (_, after) in (patch.records or {}).items():
            self.put(object_id, after)

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
        """Set the record of an object, or remove it if None; called only by `Recorder` and for patches."""
        for lookup in (self.class_map, self.trust_map):
            if object_id >= len(lookup.table):
                lookup.table = np.concatenate(
                    [lookup.table, np.zeros_like(lookup.table, shape=object_id + 1)]
                )
        if record is None:
            self.objects.pop(object_id, None)
            self.class_map.table[object_id] = self.trust_map.table[object_id] = 0
        else:
            self.objects[object_id] = record
            self.class_map.table[object_id] = record.class_id
            self.trust_map.table[object_id] = record.trust

    def _map_of(self, region: Region) -> TiledMap:
        return self.verified_map if region.verified else self.instance_map


def _verified(trust_map: LookupMap, verified_map: TiledMap, box: Box) -> BoolArray:
    trust = trust_map.window(box)
    verified: BoolArray = (trust == TRUSTED) | (verified_map.window(box) & (trust != UNSURE))
    return verified
