"""The annotations of one image: class ids and instance ids as two linked views of the same objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from ...arrays import BoolArray, ClassInfo, LocalMask
from ...errors import UnknownNameError
from ..masks.tiled import LookupMap, TiledMap
from .annotated_object import TRUSTED, UNSURE, AnnotatedObject, Box
from .classes import ClassList
from .operations import Add, Delete, Erase, Operation, Reclassify
from .patch import Patch, Region
from .recorder import Recorder

_TABLE = 256
"""First length of the tables from annotation to class; they grow."""


class Document:
    """The instance map, the records of the annotations in it, and the maps that follow from both.

    Where the instance map holds id i > 0, the class map holds the class of annotation i; elsewhere both are
    0. Maps are as large as the image and take the memory of what is annotated (`TiledMap`); they are read by anyone
    and written by the methods here only, each of which either does all it
    should and returns a `Patch`, or raises and has changed nothing.

    Args:
        hw: Size (H, W) of the image in pixels.
        classes: The classes annotations may have.
    """

    def __init__(self, hw: tuple[int, int], classes: Iterable[ClassInfo] = ()) -> None:
        self.hw = hw
        self.classes = ClassList(classes)
        self.instance_map = TiledMap(hw, np.int32)
        """(H, W) int32, 0 for no annotation; only annotated parts take memory."""
        self.class_map = LookupMap(self.instance_map, np.zeros(_TABLE, dtype=np.uint8))
        """(H, W) uint8, class of the annotation of each pixel, 0 for none."""
        self.trust_map = LookupMap(self.instance_map, np.zeros(_TABLE, dtype=np.uint8))
        """(H, W) uint8, `AnnotatedObject.trust` of the annotation of each pixel."""
        self.verified_map = TiledMap(hw, np.bool_)
        """(H, W) bool, areas that a person has marked as annotated to the end, whether there is anything or not."""
        self.objects: dict[int, AnnotatedObject] = {}
        """Id -> record."""
        self.next_id = 1
        """Id for the next new annotation."""

    def apply(self, annotation: AnnotatedObject, mask: LocalMask) -> Patch:
        """Give the pixels of a mask to an annotation; what other annotations had there is overwritten.

        Args:
            annotation: A new one, with an id of `next_id` or above; or one of the document, to extend it.
            mask: Parts outside the image are cut off.

        Raises:
            PromptError: If no pixel of the mask lies in the image.
            UnknownNameError: If the annotation's class is not on the list.
        """
        return self.perform(Add(((annotation, mask),)))

    def paint(self, mask: LocalMask, annotation: AnnotatedObject | None) -> Patch:
        """Paint a stroke: as `apply`, or erase where the annotation is None."""
        return self.perform(Erase(mask)) if annotation is None else self.apply(annotation, mask)

    def delete(self, object_id: int) -> Patch:
        """Take an annotation away.

        Raises:
            UnknownNameError: If there is no such annotation.
        """
        return self.perform(Delete((object_id,)))

    def reclassify(self, object_id: int, class_id: int) -> Patch:
        """Give an annotation another class.

        Raises:
            UnknownNameError: If there is no such annotation or class.
        """
        return self.perform(Reclassify((object_id,), class_id))

    def pixels(self, object_id: int) -> LocalMask:
        """Return the mask of an annotation as it is now.

        Raises:
            UnknownNameError: If there is no such annotation.
        """
        r0, c0, r1, c1 = self.record(object_id).box
        return LocalMask.from_dense(self.instance_map.window((r0, c0, r1, c1)) == object_id, r0, c0)

    def object_at(self, row: int, col: int) -> int:
        """Return the id of the object at a pixel; 0 if there is none, or the pixel is outside the image."""
        inside = 0 <= row < self.hw[0] and 0 <= col < self.hw[1]
        return int(self.instance_map[row, col]) if inside else 0

    def record(self, object_id: int) -> AnnotatedObject:
        """Return the record of an annotation.

        Raises:
            UnknownNameError: If there is no such annotation.
        """
        try:
            return self.objects[object_id]
        except KeyError:
            raise UnknownNameError(
                f"There is no annotation {object_id}; choose one of the {len(self.objects)} in the image."
            ) from None

    def perform(self, operation: Operation) -> Patch:
        """Do one operation.

        Returns:
            What changed; an empty patch if nothing did.

        Raises:
            PromptError: If a mask has no pixel in the image.
            UnknownNameError: If an annotation or a class is not there.
            ClassListError: If a class that is in use would disappear, or the list is malformed.
            DuplicateNameError: If a class name or id occurs twice.
        """
        recorder = Recorder(self)
        try:
            recorder.do(operation)
        except BaseException:
            # Whatever it was, memory or a key press included: all or nothing.
            self.revert(recorder.patch())
            raise
        return recorder.patch()

    def revert(self, patch: Patch) -> None:
        """Take back a patch, which must be the last one in force."""
        for region in reversed(patch.regions):
            region.write(region.before, self._map_of(region))
        if patch.classes is not None:
            self.classes.restore(patch.classes[0])
        for object_id, (before, _) in (patch.records or {}).items():
            self.put(object_id, before)

    def reapply(self, patch: Patch) -> None:
        """Write a patch again that was taken back."""
        for region in patch.regions:
            region.write(region.after, self._map_of(region))
        if patch.classes is not None:
            self.classes.restore(patch.classes[1])
        for object_id, (_, after) in (patch.records or {}).items():
            self.put(object_id, after)

    def verified(self, box: Box) -> BoolArray:
        """Return which pixels of a box (r0, c0, r1, c1) are verified, by an object or by an area."""
        return _verified(self.trust_map, self.verified_map, box)

    def verified_snapshot(self) -> Callable[[Box], BoolArray]:
        """Return `annotated` as it is now, for another thread; costs nothing."""
        trust = self.trust_map.snapshot(self.instance_map.snapshot())
        return partial(_verified, trust, self.verified_map.snapshot())

    def snapshot(self) -> tuple[LookupMap, TiledMap]:
        """Return class map and instance map as they are now, for another thread; costs nothing."""
        instances = self.instance_map.snapshot()
        return self.class_map.snapshot(instances), instances

    def fork(self) -> Document:
        """Return a copy to change in another thread, which leaves this one as it is; costs next to nothing."""
        copy = Document(self.hw, self.classes)
        copy.instance_map.become(self.instance_map.snapshot())
        copy.verified_map.become(self.verified_map.snapshot())
        copy.class_map.table, copy.trust_map.table = self.class_map.table.copy(), self.trust_map.table.copy()
        copy.objects = dict(self.objects)
        copy.next_id = self.next_id
        return copy

    def adopt(self, fork: Document) -> None:
        """Become what a fork of this document has become, which is not used any more; costs next to nothing.

        Nothing may have happened to this document since it was forked.
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
        """Set or drop a record; for patches only."""
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
