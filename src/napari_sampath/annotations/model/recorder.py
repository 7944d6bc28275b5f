"""Perform operations on a document and record the changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ...arrays import BoolArray, ClassInfo, LocalMask
from ...errors import ClassListError, PromptError
from ...jobs import releasing_gil
from ..masks.masks import Box, bounds, clip, union
from ..masks.steps import pieces
from ..masks.tiled_map import TiledMap
from .annotated_object import FLAGS, AnnotatedObject
from .document import Document
from .many_objects import MANY, add_new, are_new
from .operations import (
    Add,
    Batch,
    Delete,
    Erase,
    Flag,
    Operation,
    Reclassify,
    SetClasses,
    Verify,
    object_files,
)
from .patch import Patch, Region, TileChange, Values


def perform(document: Document, operation: Operation) -> Patch:
    """Perform one operation on a document.

    Returns:
        The changes; an empty patch if there are none.

    Raises:
        PromptError: If a mask has no pixels in the image.
        UnknownNameError: If an object or class does not exist.
        ClassListError: If a class in use would be removed, or the list is invalid.
        DuplicateNameError: If a class name or id occurs twice.
    """
    if object_files(operation) or _has_many(operation):
        fork = document.fork()
        recorder = Recorder(fork, by_tiles=True)
        recorder.do(operation)
        patch = recorder.patch()
        document.become(fork)
        return patch
    recorder = Recorder(document)
    try:
        recorder.do(operation)
    except BaseException:
        # Also restores the document after a MemoryError or KeyboardInterrupt.
        document.revert(recorder.patch())
        raise
    return recorder.patch()


def _has_many(operation: Operation) -> bool:
    match operation:
        case Add(items=items):
            return len(items) >= MANY
        case Batch(operations=steps):
            return any(map(_has_many, steps))
        case _:
            return False


class Recorder:
    """Performs one operation and keeps the previous pixels and records.

    Args:
        document: The document to change.
        by_tiles: Compare the tiles of the maps at the end instead of recording each change: faster for thousands of
            objects and for large areas, but a failed operation cannot be reverted.
    """

    def __init__(self, document: Document, by_tiles: bool = False) -> None:
        self.document = document
        self.by_tiles = by_tiles
        maps = (document.instance_map, document.verified_map)
        self._start = tuple(labels.snapshot() for labels in maps) if by_tiles else ()
        self.regions: list[Region] = []
        self.before: dict[int, AnnotatedObject | None] = {}
        self.classes_before: tuple[ClassInfo, ...] | None = None

    def patch(self) -> Patch:
        """Return the changes so far."""
        now = self.document.objects
        before = {key: old for key, old in self.before.items() if old != now.get(key)}
        old_classes, classes = self.classes_before, self.document.classes.snapshot
        changed = old_classes is not None and old_classes != classes
        return Patch(
            tuple(self.regions),
            before,
            {key: now.get(key) for key in before},
            (old_classes, classes) if changed and old_classes is not None else None,
            tuple(self._tile_changes()),
        )

    def _tile_changes(self) -> Iterator[TileChange]:
        """Compare the maps with their state before the operation, tile by tile."""
        document = self.document
        for labels, start in zip((document.instance_map, document.verified_map), self._start, strict=False):
            before, after = labels.pack_changes(start)
            box = labels.box_of(before.keys() | after.keys())
            if box is not None:
                yield TileChange(labels is document.verified_map, box, before, after)

    def do(self, operation: Operation) -> None:
        """Perform one operation; if it raises, the caller must revert `patch()`."""
        match operation:
            case Add():
                self._add(operation)
            case Erase(mask=mask):
                self._write(mask, 0)
            case Delete(ids=ids):
                self._delete(ids)
            case Reclassify(ids=ids, class_id=class_id):
                self.document.classes.by_id(class_id)
                for object_id in ids:
                    record = replace(self.document.record(object_id), class_id=class_id)
                    self._set(object_id, self._changed(record))
            case Flag(ids=ids, flag=flag, value=value):
                for object_id in ids:
                    record = self.document.record(object_id)
                    reviewed, unsure = (value if name == flag else getattr(record, name) for name in FLAGS)
                    self._set(object_id, self._changed(replace(record, reviewed=reviewed, unsure=unsure)))
            case Verify(mask=mask, value=value):
                self._verify(mask, value)
            case SetClasses(classes=classes):
                self._set_classes(classes)
            case Batch(operations=operations):
                for step in operations:
                    self.do(step)

    def _add(self, operation: Add) -> None:
        if operation.classes is not None:
            self._set_classes(operation.classes)
        if self.by_tiles and (operation.file is not None or are_new(self.document, operation.items)):
            for object_id, before in add_new(self.document, operation.items).items():
                self.before.setdefault(object_id, before)
            return
        for obj, mask in releasing_gil(operation.items):
            clipped = clip(mask, self.document.hw)
            if not clipped.bitmap.any():
                raise PromptError("The mask has no pixels in the image; draw it on the image.")
            box, record = self._box_of(clipped), self.document.objects.get(obj.id)
            if record is None:
                if obj.id < self.document.next_id:
                    raise ValueError(f"object id {obj.id} has been used before")
                self.document.classes.by_id(obj.class_id)
                maker = obj.made_by or self.document.reader or None
                record = replace(obj, box=box, area_px=0, made_by=maker)
                self.document.next_id = obj.id + 1
            else:
                # Old journals repeat outdated records of extended objects; these lack a time `modified`.
                if obj.modified is not None:
                    kept = {name: getattr(record, name) for name in ("class_id", "box", "area_px", "made_by")}
                    record = replace(obj, **kept)
                record = self._changed(replace(record, box=union(record.box, box) or box))
            self._write(clipped, record.id, record)

    def _box_of(self, mask: LocalMask) -> Box:
        """Return the bounding box of a mask, whose last row and column may reach beyond the image."""
        r0, c0, r1, c1 = bounds(mask)
        return r0, c0, min(r1, self.document.hw[0]), min(c1, self.document.hw[1])

    def _delete(self, ids: tuple[int, ...]) -> None:
        """Delete objects, tile by tile, because there may be thousands."""
        instances = self.document.instance_map
        boxes = [self.document.record(object_id).box for object_id in ids]
        deleted = np.zeros(self.document.next_id, dtype=np.bool_)
        deleted[list(ids)] = True
        for box in instances.tiles_in(boxes):
            value = instances.uniform(box)
            if value is not None:
                if deleted[value]:
                    self._fill(box, value, 0, instances)
                continue
            part = instances.window(box)
            changed = deleted[part]
            if changed.any():
                count = int(np.count_nonzero(changed))
                self._keep(instances, box, changed, Values.of(part[changed]), Values.constant(0, count))
                part[changed] = 0
                instances.write(box, part)
        for object_id in ids:
            self._set(object_id, None)

    def _write(self, mask: LocalMask, instance_id: int, record: AnnotatedObject | None = None) -> None:
        """Assign the pixels of a mask to an object, or clear them if the id is 0.

        Args:
            mask: The pixels.
            instance_id: Id of the object.
            record: Record of the object with its previous area; None if the pixels are cleared.
        """
        written: Counter[int] = Counter()
        for before in releasing_gil(self._change(mask, instance_id, self.document.instance_map)):
            for value, length in zip(before.values.tolist(), before.lengths.tolist(), strict=True):
                written[value] += length
        if record is not None:
            self._set(instance_id, replace(record, area_px=record.area_px + written.total()))
        for other_id in written.keys() - {0}:
            other = self.document.objects[other_id]
            area_px = other.area_px - written[other_id]
            self._set(other_id, replace(other, area_px=area_px) if area_px > 0 else None)

    def _change(self, mask: LocalMask, value: int, target: TiledMap) -> Iterator[Values]:
        """Set the pixels of a mask in the instance map or the verified map; yield the values of the changed pixels."""
        for piece, bits in pieces(mask, self.document.hw):
            for box, old in target.runs(piece) if bits is None else [(piece, None)]:
                if old is not None:
                    if old != value:
                        yield self._fill(box, old, value, target)
                    continue
                part = target.window(box)
                changed = part != value if bits is None else bits & (part != value)
                count = int(np.count_nonzero(changed))
                if count == 0:
                    continue
                overwritten = part[changed]
                # Fast path: usually nothing is overwritten.
                before = Values.of(overwritten) if overwritten.any() else Values.constant(0, count)
                self._keep(target, box, changed, before, Values.constant(value, count))
                part[changed] = value
                target.write(box, part)
                yield before

    def _fill(self, box: Box, old: int, value: int, target: TiledMap) -> Values:
        """Set all pixels of a uniform tile; neighbouring tiles of a row that had the same value become one region."""
        target.fill(box, value)
        region = Region.filled(target is self.document.verified_map, box, old, value)
        if not self.by_tiles:
            last = self.regions[-1] if self.regions else None
            joins = last is not None and (
                (last.verified, last.box[0], last.box[2], last.box[3])
                == (region.verified, box[0], box[2], box[1])
                and last.after.values.tolist() == [value]
                and last.before.values.tolist() == [old]
                and len(last.changed) == 2
                and not last.changed[0]
            )
            if last is not None and joins:
                wide = (box[0], last.box[1], box[2], box[3])
                self.regions[-1] = Region.filled(region.verified, wide, old, value)
            else:
                self.regions.append(region)
        return region.before

    def _keep(self, target: TiledMap, box: Box, changed: BoolArray, before: Values, after: Values) -> None:
        if not self.by_tiles:
            is_verified = target is self.document.verified_map
            self.regions.append(Region.of(is_verified, box, changed, before, after))

    def _verify(self, mask: LocalMask, value: bool) -> None:
        for _ in self._change(mask, value, self.document.verified_map):
            pass

    def _set_classes(self, classes: tuple[ClassInfo, ...]) -> None:
        kept = {info.id for info in classes}
        for info in self.document.classes:
            if info.id not in kept:
                users = sum(obj.class_id == info.id for obj in self.document.objects.values())
                if users:
                    raise ClassListError(
                        f"The class '{info.name}' is used by {users} object(s) and cannot be removed; "
                        "delete them or change their class first."
                    )
        if self.classes_before is None:
            self.classes_before = self.document.classes.snapshot
        self.document.classes.restore(classes)

    def _changed(self, record: AnnotatedObject) -> AnnotatedObject:
        """Return a record with the reader who changes it, if the reader has a name."""
        reader = self.document.reader
        return replace(record, changed_by=reader) if reader else record

    def _set(self, object_id: int, record: AnnotatedObject | None) -> None:
        self.before.setdefault(object_id, self.document.objects.get(object_id))
        self.document.put(object_id, record)
