"""Does operations to a document step by step and remembers what each step changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ...arrays import BoolArray, ClassInfo, LocalMask
from ...errors import ClassListError, PromptError
from ..masks.masks import clip
from .annotated_object import FLAGS, AnnotatedObject, Box, bounds, union
from .operations import Add, Batch, Delete, Erase, Flag, Operation, Reclassify, SetClasses, Verify
from .patch import Patch, Region, Values

if TYPE_CHECKING:
    from .document import Document


class Recorder:
    """One operation on a document, as it happens.

    Args:
        document: The document.
        by_tiles: Don't remember each change of the instance map but what has become of each tile in the end: quicker
            for thousands of objects. Such an operation cannot be taken back halfway.
    """

    def __init__(self, document: Document, by_tiles: bool = False) -> None:
        self.document = document
        self.by_tiles = by_tiles
        self._start = document.instance_map.snapshot() if by_tiles else None
        self.regions: list[Region] = []
        self.before: dict[int, AnnotatedObject | None] = {}
        self.classes_before: tuple[ClassInfo, ...] | None = None

    def patch(self) -> Patch:
        """Return what has changed so far."""
        now = self.document.objects
        records = {key: (old, now.get(key)) for key, old in self.before.items() if old != now.get(key)}
        old_classes, classes = self.classes_before, self.document.classes.snapshot
        changed = old_classes is not None and old_classes != classes
        return Patch(
            (*self.regions, *self._tile_regions()),
            records,
            (old_classes, classes) if changed and old_classes is not None else None,
        )

    def _tile_regions(self) -> Iterator[Region]:
        """Describe what has become of the instance map, tile by tile."""
        if self._start is None:
            return
        now = self.document.instance_map
        for box in now.differences(self._start):
            old, new = self._start.window(box), now.window(box)
            changed = old != new
            if changed.any():
                yield Region.of(False, box, changed, Values.of(old[changed]), Values.of(new[changed]))

    def do(self, operation: Operation) -> None:
        """Do one operation; if it raises, `patch` tells what to take back."""
        match operation:
            case Add():
                self._add(operation)
            case Erase(mask=mask):
                self._write(clip(mask, self.document.hw), 0)
            case Delete(ids=ids):
                self._delete(ids)
            case Reclassify(ids=ids, class_id=class_id):
                self.document.classes.by_id(class_id)
                for object_id in ids:
                    self._set(object_id, replace(self.document.record(object_id), class_id=class_id))
            case Flag(ids=ids, flag=flag, value=value):
                for object_id in ids:
                    record = self.document.record(object_id)
                    reviewed, unsure = (value if name == flag else getattr(record, name) for name in FLAGS)
                    self._set(object_id, replace(record, reviewed=reviewed, unsure=unsure))
            case Verify(mask=mask, value=value):
                self._verify(clip(mask, self.document.hw), value)
            case SetClasses(classes=classes):
                self._set_classes(classes)
            case Batch(operations=operations):
                for one in operations:
                    self.do(one)

    def _add(self, operation: Add) -> None:
        if operation.classes is not None:
            self._set_classes(operation.classes)
        for annotation, mask in operation.items:
            clipped = clip(mask, self.document.hw)
            if not clipped.bitmap.any():
                raise PromptError("The mask has no pixel in the image; give one that has.")
            known = self.document.objects.get(annotation.id)
            if known is None:
                if annotation.id < self.document.next_id:
                    raise ValueError(f"annotation id {annotation.id} was used before")
                self.document.classes.by_id(annotation.class_id)
                known = replace(annotation, box=bounds(clipped), area_px=0)
                self.document.next_id = annotation.id + 1
            else:
                # Older journals have no such time, and what they say of an extended object was never its record.
                if annotation.modified is not None:
                    known = replace(annotation, class_id=known.class_id, box=known.box, area_px=known.area_px)
                known = replace(known, box=union(known.box, bounds(clipped)) or known.box)
            self._write(clipped, known.id, known)

    def _delete(self, ids: tuple[int, ...]) -> None:
        """Take annotations away, by tile and not by object, of which there may be thousands."""
        owned = self.document.instance_map
        boxes = [self.document.record(object_id).box for object_id in ids]
        going = np.zeros(self.document.next_id, dtype=np.bool_)
        going[list(ids)] = True
        for box in owned.tiles_in(boxes):
            part = owned.window(box)
            changed = going[part]
            if changed.any():
                count = int(np.count_nonzero(changed))
                self._keep(box, changed, Values.of(part[changed]), Values.constant(0, count))
                part[changed] = 0
                owned.write(box, part)
        for object_id in ids:
            self._set(object_id, None)

    def _write(self, mask: LocalMask, instance_id: int, record: AnnotatedObject | None = None) -> None:
        """Give the pixels of a clipped mask to one annotation (or none), whose area its record does not count yet."""
        owned = self.document.instance_map
        box = bounds(mask)
        part = owned.window(box)
        changed = mask.bitmap & (part != instance_id)
        count = int(np.count_nonzero(changed))
        if record is not None:
            self._set(instance_id, replace(record, area_px=record.area_px + count))
        if count == 0:
            return
        lost_pixels = part[changed]
        # Mostly nothing was there, and thousands of pieces of a head are taken over in one go.
        before = Values.of(lost_pixels) if lost_pixels.any() else Values.constant(0, count)
        self._keep(box, changed, before, Values.constant(instance_id, count))
        part[changed] = instance_id
        owned.write(box, part)
        for loser in set(before.values.tolist()):
            if loser:
                lost = self.document.objects[loser]
                left = lost.area_px - int(before.lengths[before.values == loser].sum())
                self._set(loser, replace(lost, area_px=left) if left > 0 else None)

    def _keep(self, box: Box, changed: BoolArray, before: Values, after: Values) -> None:
        """Remember what happened to the instance map."""
        if not self.by_tiles:
            self.regions.append(Region.of(False, box, changed, before, after))

    def _verify(self, mask: LocalMask, value: bool) -> None:
        verified = self.document.verified_map
        box = bounds(mask)
        part = verified.window(box)
        changed = mask.bitmap & (part != value)
        count = int(np.count_nonzero(changed))
        if count:
            before = Values.of(part[changed])
            self.regions.append(Region.of(True, box, changed, before, Values.constant(value, count)))
            part[changed] = value
            verified.write(box, part)

    def _set_classes(self, classes: tuple[ClassInfo, ...]) -> None:
        kept = {info.id for info in classes}
        for info in self.document.classes:
            if info.id not in kept:
                users = sum(one.class_id == info.id for one in self.document.objects.values())
                if users:
                    raise ClassListError(
                        f"The class '{info.name}' cannot be removed because {users} annotation(s) have it; "
                        "delete them or give them another class first."
                    )
        if self.classes_before is None:
            self.classes_before = self.document.classes.snapshot
        self.document.classes.restore(classes)

    def _set(self, object_id: int, record: AnnotatedObject | None) -> None:
        self.before.setdefault(object_id, self.document.objects.get(object_id))
        self.document.put(object_id, record)
