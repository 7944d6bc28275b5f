"""The annotations of one image: class ids and instance ids as two linked views of the same objects."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..arrays import BoolArray, ClassInfo, IntArray, LocalMask, UInt8Array
from ..errors import ClassListError, PromptError, UnknownNameError
from .annotation import Annotation, bounds, union
from .classes import ClassList
from .operations import Add, Delete, Erase, Operation, Reclassify, SetClasses
from .patch import Patch, Region, Values


class Document:
    """Two label maps and the records of the annotations in them.

    Where the instance map holds id i > 0, the class map holds the class of annotation i; elsewhere both are
    0. The maps are read by anyone and written by the methods here only, each of which either does all it
    should and returns a `Patch`, or raises and has changed nothing.

    Args:
        hw: Size (H, W) of the image in pixels.
        classes: The classes annotations may have.
    """

    def __init__(self, hw: tuple[int, int], classes: Iterable[ClassInfo] = ()) -> None:
        self.hw = hw
        self.classes = ClassList(classes)
        # np.zeros takes memory only where something is written: a large image costs nothing yet.
        self.class_map: UInt8Array = np.zeros(hw, dtype=np.uint8)
        """(H, W) uint8, 0 for no class."""
        self.instance_map: npt.NDArray[np.int32] = np.zeros(hw, dtype=np.int32)
        """(H, W) int32, 0 for no annotation."""
        self.annotations: dict[int, Annotation] = {}
        """Id -> record."""
        self.next_id = 1
        """Id for the next new annotation."""

    def apply(self, annotation: Annotation, mask: LocalMask) -> Patch:
        """Give the pixels of a mask to an annotation; what other annotations had there is overwritten.

        Args:
            annotation: A new one, with an id of `next_id` or above; or one of the document, to extend it.
            mask: Parts outside the image are cut off.

        Raises:
            PromptError: If no pixel of the mask lies in the image.
            UnknownNameError: If the annotation's class is not on the list.
        """
        return self.perform(Add(((annotation, mask),)))

    def paint(self, mask: LocalMask, annotation: Annotation | None) -> Patch:
        """Paint a stroke: as `apply`, or erase where the annotation is None."""
        return self.perform(Erase(mask)) if annotation is None else self.apply(annotation, mask)

    def delete(self, annotation_id: int) -> Patch:
        """Take an annotation away.

        Raises:
            UnknownNameError: If there is no such annotation.
        """
        return self.perform(Delete((annotation_id,)))

    def reclassify(self, annotation_id: int, class_id: int) -> Patch:
        """Give an annotation another class.

        Raises:
            UnknownNameError: If there is no such annotation or class.
        """
        return self.perform(Reclassify((annotation_id,), class_id))

    def pixels(self, annotation_id: int) -> LocalMask:
        """Return the mask of an annotation as it is now.

        Raises:
            UnknownNameError: If there is no such annotation.
        """
        r0, c0, r1, c1 = self.record(annotation_id).box
        return LocalMask.from_dense(self.instance_map[r0:r1, c0:c1] == annotation_id, r0, c0)

    def record(self, annotation_id: int) -> Annotation:
        """Return the record of an annotation.

        Raises:
            UnknownNameError: If there is no such annotation.
        """
        try:
            return self.annotations[annotation_id]
        except KeyError:
            raise UnknownNameError(
                f"There is no annotation {annotation_id}; choose one of the {len(self.annotations)} in the image."
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
        recorder = _Recorder(self)
        try:
            match operation:
                case Add():
                    recorder.add(operation)
                case Erase(mask=mask):
                    recorder.write(clip(mask, self.hw), 0, 0)
                case Delete(ids=ids):
                    recorder.delete(ids)
                case Reclassify(ids=ids, class_id=class_id):
                    recorder.reclassify(ids, class_id)
                case SetClasses(classes=classes):
                    recorder.set_classes(classes)
        except BaseException:
            # Whatever it was, memory or a key press included: all or nothing.
            self.revert(recorder.patch())
            raise
        return recorder.patch()

    def revert(self, patch: Patch) -> None:
        """Take back a patch, which must be the last one in force."""
        for region in reversed(patch.regions):
            region.write(region.before, self.class_map, self.instance_map)
        if patch.classes is not None:
            self.classes.restore(patch.classes[0])
        for annotation_id, (before, _) in (patch.records or {}).items():
            self.put(annotation_id, before)

    def reapply(self, patch: Patch) -> None:
        """Write a patch again that was taken back."""
        for region in patch.regions:
            region.write(region.after, self.class_map, self.instance_map)
        if patch.classes is not None:
            self.classes.restore(patch.classes[1])
        for annotation_id, (_, after) in (patch.records or {}).items():
            self.put(annotation_id, after)

    def put(self, annotation_id: int, record: Annotation | None) -> None:
        """Set or drop a record; for patches only."""
        if record is None:
            self.annotations.pop(annotation_id, None)
        else:
            self.annotations[annotation_id] = record


class _Recorder:
    """Does an operation step by step and remembers what each step changed."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.regions: list[Region] = []
        self.before: dict[int, Annotation | None] = {}
        self.classes_before: tuple[ClassInfo, ...] | None = None

    def patch(self) -> Patch:
        now = self.document.annotations
        records = {key: (old, now.get(key)) for key, old in self.before.items() if old != now.get(key)}
        old_classes, classes = self.classes_before, self.document.classes.snapshot
        changed = old_classes is not None and old_classes != classes
        return Patch(
            tuple(self.regions),
            records,
            (old_classes, classes) if changed and old_classes is not None else None,
        )

    def add(self, operation: Add) -> None:
        if operation.classes is not None:
            self.set_classes(operation.classes)
        for annotation, mask in operation.items:
            clipped = clip(mask, self.document.hw)
            if not clipped.bitmap.any():
                raise PromptError("The mask has no pixel in the image; give one that has.")
            known = self.document.annotations.get(annotation.id)
            if known is None:
                if annotation.id < self.document.next_id:
                    raise ValueError(f"annotation id {annotation.id} was used before")
                self.document.classes.by_id(annotation.class_id)
                known = replace(annotation, box=bounds(clipped), area_px=0)
                self.document.next_id = annotation.id + 1
            else:
                known = replace(known, box=union(known.box, bounds(clipped)) or known.box)
            self.set_record(known.id, known)
            self.write(clipped, known.id, known.class_id)

    def write(self, mask: LocalMask, instance_id: int, class_id: int) -> None:
        """Give the pixels of a clipped mask to one annotation (or none) and keep all areas right."""
        document = self.document
        instances, classes = document.instance_map[mask.slices], document.class_map[mask.slices]
        changed = mask.bitmap & ((instances != instance_id) | (classes != class_id))
        count = int(np.count_nonzero(changed))
        if count == 0:
            return
        lost = instances[changed]
        before = Values.of(lost, classes[changed])
        after = Values(
            np.array([instance_id], dtype=np.int32),
            np.array([class_id], dtype=np.uint8),
            np.array([count], dtype=np.uint32),
        )
        self.regions.append(Region.of(bounds(mask), changed, before, after))
        instances[changed] = instance_id
        classes[changed] = class_id
        self._move_area(before, instance_id, count)

    def _move_area(self, before: Values, instance_id: int, count: int) -> None:
        owners = before.instances
        for loser in np.unique(owners).tolist():
            if loser == 0 or loser == instance_id:
                continue
            record = self.document.annotations[loser]
            left = record.area_px - int(before.lengths[owners == loser].sum())
            self.set_record(loser, replace(record, area_px=left) if left > 0 else None)
        if instance_id:
            kept = int(before.lengths[owners == instance_id].sum())
            record = self.document.annotations[instance_id]
            self.set_record(instance_id, replace(record, area_px=record.area_px + count - kept))

    def delete(self, ids: tuple[int, ...]) -> None:
        for annotation_id in ids:
            self.write(self.document.pixels(annotation_id), 0, 0)

    def reclassify(self, ids: tuple[int, ...], class_id: int) -> None:
        self.document.classes.by_id(class_id)
        for annotation_id in ids:
            record = self.document.record(annotation_id)
            if record.class_id != class_id:
                pixels = self.document.pixels(annotation_id)
                self.set_record(annotation_id, replace(record, class_id=class_id))
                self.write(pixels, annotation_id, class_id)

    def set_classes(self, classes: tuple[ClassInfo, ...]) -> None:
        kept = {info.id for info in classes}
        for info in self.document.classes:
            if info.id not in kept:
                users = sum(one.class_id == info.id for one in self.document.annotations.values())
                if users:
                    raise ClassListError(
                        f"The class '{info.name}' cannot be removed because {users} annotation(s) have it; "
                        "delete them or give them another class first."
                    )
        if self.classes_before is None:
            self.classes_before = self.document.classes.snapshot
        self.document.classes.restore(classes)

    def set_record(self, annotation_id: int, record: Annotation | None) -> None:
        self.before.setdefault(annotation_id, self.document.annotations.get(annotation_id))
        self.document.put(annotation_id, record)


def clip(mask: LocalMask, hw: tuple[int, int]) -> LocalMask:
    """Cut off what lies outside an image of size (H, W)."""
    height, width = mask.bitmap.shape
    top, left = max(0, -mask.row), max(0, -mask.col)
    bottom, right = min(height, hw[0] - mask.row), min(width, hw[1] - mask.col)
    if (top, left, bottom, right) == (0, 0, height, width):
        return mask
    if bottom <= top or right <= left:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    return LocalMask(mask.row + top, mask.col + left, mask.bitmap[top:bottom, left:right])


def mask_of_pixels(rows: npt.ArrayLike, cols: npt.ArrayLike, hw: tuple[int, int]) -> LocalMask:
    """Turn lists of pixels (rows, cols), in any order and repeated or not, into a mask.

    Args:
        rows: (N,) rows; pixels outside an image of size (H, W) are left out.
        cols: (N,) columns.
        hw: Image size.
    """
    row_ids: IntArray = np.asarray(rows, dtype=np.int64).reshape(-1)
    col_ids: IntArray = np.asarray(cols, dtype=np.int64).reshape(-1)
    inside: BoolArray = (row_ids >= 0) & (row_ids < hw[0]) & (col_ids >= 0) & (col_ids < hw[1])
    row_ids, col_ids = row_ids[inside], col_ids[inside]
    if row_ids.size == 0:
        return LocalMask(0, 0, np.zeros((0, 0), dtype=np.bool_))
    row, col = int(row_ids.min()), int(col_ids.min())
    bitmap = np.zeros((int(row_ids.max()) - row + 1, int(col_ids.max()) - col + 1), dtype=np.bool_)
    bitmap[row_ids - row, col_ids - col] = True
    return LocalMask(row, col, bitmap)
