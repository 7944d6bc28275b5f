"""Objects from a head or a file that are not in a document yet.

All functions are pure and can run in any thread.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, get_args

import numpy as np

from ...annotations import AnnotatedObject, Box, ClassList, Document, Source, bounds
from ...annotations.masks.steps import elements_where
from ...annotations.model.annotated_object import now
from ...annotations.model.classes import FIRST_CLASS, clean_name, next_color
from ...arrays import BoolArray, ClassInfo, FloatArray, LocalMask, UInt8Array
from ...errors import ImageError
from ...formats import Objects
from ...formats.class_numbers import agree
from ...formats.objects import MarkedPoint
from ...jobs import releasing_gil
from .result_filter import KEEP_ALL, ResultFilter


class Segmentation(Protocol):
    """Result of a head, see `predict.segment`."""

    @property
    def labels(self) -> UInt8Array:
        """(H, W) ids of `classes`; 0 is background."""

    @property
    def confidence(self) -> FloatArray:
        """(H, W) probability of the predicted class, 0..1."""

    @property
    def classes(self) -> Sequence[ClassInfo]:
        """Classes of the head; id 0 is the background."""

    @property
    def head(self) -> str:
        """Name of the head."""


@dataclass(frozen=True, slots=True, eq=False)
class NewObject:
    """One object, with a class id of the head or file."""

    class_id: int
    mask: LocalMask
    score: float | None = None
    """Predicted IoU, or mean probability of the class inside the mask, 0..1."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """Fields from a file, not validated yet; see `saving.details_of`."""


@dataclass(frozen=True, slots=True, eq=False)
class NewObjects:
    """Objects to be added, and their classes."""

    objects: Sequence[NewObject]
    """Those of a result on a slide are read from it at each iteration."""
    classes: tuple[ClassInfo, ...]
    head: str | None = None
    """Name of the head or model that found the objects, if any."""
    within: Box | None = None
    """Part (r0, c0, r1, c1) of the image that was segmented; None for the whole image."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about what was read, skipped or converted."""
    points: tuple[MarkedPoint, ...] = ()
    """Points for which `answering.answer_points_job` adds objects."""

    def label_map(self) -> UInt8Array:
        """Return the class id of each pixel of `within` as (h, w) uint8; 0 is background."""
        r0, c0, r1, c1 = self.within or (0, 0, 0, 0)
        labels = np.zeros((r1 - r0, c1 - c0), dtype=np.uint8)
        for obj in self.objects:
            top, left, bottom, right = bounds(obj.mask)
            box = max(top, r0), max(left, c0), min(bottom, r1), min(right, c1)
            window = labels[box[0] - r0 : box[2] - r0, box[1] - c0 : box[3] - c0]
            window[obj.mask.window(box)] = obj.class_id
        return labels


def from_segmentation(segmentation: Segmentation, result_filter: ResultFilter = KEEP_ALL) -> NewObjects:
    """Convert a class map to objects: the 8-connected components of each class, filtered.

    Args:
        segmentation: Result of a head, on the image or on a region of it (`origin_rc`).
        result_filter: The parts to keep; thresholds apply before components are found.
    """
    from ...predict.instances.settings import InstanceSettings
    from ...predict.instances.split_touching import split_class_map

    labels, confidence = np.asarray(segmentation.labels), np.asarray(segmentation.confidence)
    top, left = getattr(segmentation, "origin_rc", (0, 0))
    depth = getattr(segmentation, "depth", None)
    settings = InstanceSettings(min_area_px=result_filter.min_area_px)
    if not result_filter.separate_touching:
        settings = replace(settings, neck=0)
    ids = {info.name: info.id for info in segmentation.classes}
    thresholds = {ids[name]: threshold for name, threshold in result_filter.thresholds.items() if name in ids}
    objects = tuple(
        NewObject(obj.class_id, obj.mask, obj.score)
        for obj in split_class_map(labels, confidence, settings, (top, left), thresholds, depth)
    )
    height, width = labels.shape
    box = (top, left, top + height, left + width)
    return NewObjects(objects, _used_classes(segmentation.classes, objects), segmentation.head, box)


def from_file(content: Objects) -> NewObjects:
    """Convert the content of a file to new objects, with the details that exports of this package contain."""
    objects = tuple(
        NewObject(obj.class_id, obj.mask, _number(obj.details.get("score")), obj.details)
        for obj in content.items
    )
    classes = _used_classes(content.classes, (*objects, *content.points))
    return NewObjects(objects, classes, points=content.points)


def make_items(
    new: NewObjects,
    first_id: int,
    to_id: Callable[[int], int],
    source: Source,
    model: str | None,
    unavailable: Callable[[Box], BoolArray] | None,
    hw: tuple[int, int],
) -> Iterator[tuple[AnnotatedObject, LocalMask]]:
    """Yield the records and masks of new objects, numbered from `first_id`.

    Args:
        new: The objects.
        first_id: Id of the first record.
        to_id: Maps a class id of the head or file to a class id of the document.
        source: Source of objects without a source in their details.
        model: Model of objects without a model in their details.
        unavailable: Returns the mask of the pixels of a box that must not be used; objects without remaining pixels are
            dropped.
        hw: Size (H, W) of the image.
    """
    count, added = 0, now()
    for obj in releasing_gil(new.objects):
        mask = obj.mask
        if unavailable is not None:
            taken = elements_where(mask, hw, unavailable)
            mask = LocalMask(mask.row, mask.col, mask.bitmap & ~taken, mask.step)
            if not mask.bitmap.any():
                continue
        details = obj.details
        record = AnnotatedObject(
            first_id + count,
            to_id(obj.class_id),
            details["source"] if details.get("source") in get_args(Source) else source,
            obj.score,
            str(details["model"]) if details.get("model") else model,
            _prompts(details.get("prompts")),
            _time(details.get("created")) or added,
            reviewed=details.get("reviewed") is True,
            unsure=details.get("unsure") is True,
            modified=_time(details.get("modified")),
            made_by=_text(details.get("made_by")),
            changed_by=_text(details.get("changed_by")),
        )
        count += 1
        yield record, mask


def match_classes(
    new: NewObjects, classes: ClassList, document: Document | None = None
) -> tuple[Callable[[int], int], tuple[ClassInfo, ...], tuple[str, ...]]:
    """Match the classes of new objects to a class list by name, and add missing classes with their own numbers.

    The initial class of a session is removed if there are no objects, so that it does not take the number of another
    class; see `formats.class_numbers`.

    Args:
        new: The objects, with the classes of the head or file.
        classes: The class list of the document, which is not changed.
        document: The document, to find out whether the initial class has objects.

    Returns:
        A function that maps class ids of the head or file to ids of the list, the extended list, and a sentence if a
        class gets another number.

    Raises:
        ClassListError: If there would be more than 255 classes, or a new name is too long.
    """
    table = classes.snapshot
    keys = {info.key for info in new.classes}
    if (
        document is not None
        and table == (FIRST_CLASS,)
        and FIRST_CLASS.key not in keys
        and not document.objects
    ):
        table = ()
    numbered = agree(table, new.classes)
    colors = [info.color for info in table]
    extended = list(table)
    for info in numbered.classes[len(table) :]:
        color = next_color(colors) if info.color in colors else info.color
        colors.append(color)
        extended.append(replace(info, name=clean_name(info.name), color=color))
    ids = {info.id: number for info, number in zip(new.classes, numbered.numbers, strict=True)}
    return ids.__getitem__, ClassList(extended).snapshot, numbered.notes


def check_size(shape: tuple[int, ...], hw: tuple[int, int], what: str) -> None:
    """Raise an `ImageError` if the shape of a label map differs from the size (H, W) of the image."""
    if shape != hw:
        size = " x ".join(str(side) for side in reversed(shape))
        raise ImageError(
            f"{what} is {size} px, but the image is {hw[1]} x {hw[0]} px (width x height); "
            "choose one made from this image."
        )


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None


def _text(value: object) -> str | None:
    """Return a name from a file; None if it is missing or no text."""
    return value if isinstance(value, str) and value else None


def _time(value: object) -> str | None:
    """Convert an ISO 8601 time with time zone to the format of `now`; None if it is invalid."""
    try:
        time = datetime.datetime.fromisoformat(value if isinstance(value, str) else "")
        if time.tzinfo is None:
            return None
        return time.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError):
        return None


def _prompts(value: object) -> dict[str, Any]:
    """Convert the prompts written by `saving.details_of` to those of a record; empty if they are invalid."""
    if not isinstance(value, Mapping):
        return {}
    try:
        points = [(*_finite((x, y)), int(bool(positive))) for x, y, positive in value.get("points") or ()]
        box = None if value.get("box") is None else _finite(value["box"])
    except (TypeError, ValueError, OverflowError):
        return {}
    mask = value.get("mask") is True
    if (box is not None and len(box) != 4) or not (points or box or mask):
        return {}
    return {
        "points": [[x, y] for x, y, _ in points],
        "labels": [label for _, _, label in points],
        "box": box,
        "mask": mask,
    }


def _finite(values: Iterable[Any]) -> list[float]:
    numbers = list(values)
    if not all(math.isfinite(number) for number in numbers):
        raise ValueError("not a finite number")
    return [float(number) for number in numbers]


def _used_classes(
    classes: Iterable[ClassInfo], objects: Sequence[NewObject | MarkedPoint]
) -> tuple[ClassInfo, ...]:
    """Return the classes that the objects use; an id without a class is named, for example, "class 3"."""
    by_id = {info.id: info for info in classes}
    used = {obj.class_id for obj in objects}
    for class_id in sorted(used - by_id.keys()):
        color = next_color([info.color for info in by_id.values()])
        by_id[class_id] = ClassInfo(class_id, f"class {class_id}", color)
    return tuple(info for info in by_id.values() if info.id in used)
