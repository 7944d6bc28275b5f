"""Label maps to annotations: one for each connected piece of each class. Pure functions for any thread."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np

from ...annotations import AnnotatedObject, Box, ClassList, Source, bounds
from ...annotations.model.annotated_object import now
from ...annotations.model.classes import next_color
from ...arrays import BoolArray, ClassInfo, FloatArray, LocalMask, UInt8Array
from ...errors import ImageError
from .result_filter import KEEP_ALL, ResultFilter

if TYPE_CHECKING:
    from ...formats import Objects


class Segmentation(Protocol):
    """What a head makes of an image, see `predict.Segmentation`."""

    @property
    def labels(self) -> UInt8Array:
        """(H, W) class ids of `classes`; 0 is none."""

    @property
    def confidence(self) -> FloatArray:
        """(H, W) floats 0..1, probability of that class."""

    @property
    def classes(self) -> Sequence[ClassInfo]:
        """The classes of the head; one with id 0 is the rest."""

    @property
    def head(self) -> str:
        """Name of the head."""


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One connected piece of one class."""

    class_id: int
    """In the ids of where it came from."""
    mask: LocalMask
    score: float | None = None
    """Mean probability of its class inside it, 0..1."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What a file says of it, see `saving.details_of`; anything may stand there."""


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Pieces and the classes their ids mean."""

    pieces: tuple[Component, ...]
    classes: tuple[ClassInfo, ...]
    head: str | None = None
    """Name of the head that found them."""
    within: Box | None = None
    """The part of the image that was looked at; None for all of it."""

    def label_map(self) -> UInt8Array:
        """Return the class ids of the pieces as a map (H, W) uint8 of `within`, 0 where there is none."""
        r0, c0, r1, c1 = self.within or (0, 0, 0, 0)
        labels = np.zeros((r1 - r0, c1 - c0), dtype=np.uint8)
        for piece in self.pieces:
            rows, cols = piece.mask.slices
            inside = labels[rows.start - r0 : rows.stop - r0, cols.start - c0 : cols.stop - c0]
            inside[piece.mask.bitmap] = piece.class_id
        return labels


def from_segmentation(segmentation: Segmentation, result_filter: ResultFilter = KEEP_ALL) -> Components:
    """Split a class map into its connected pieces, corners counting as connected.

    Args:
        segmentation: Result of a head, on the image or on a region of it (`origin_rc`).
        result_filter: The parts to keep; thresholds apply before components are found.
    """
    from ...predict.instances.settings import InstanceSettings
    from ...predict.instances.split_touching import pieces_in

    labels, confidence = np.asarray(segmentation.labels), np.asarray(segmentation.confidence)
    top, left = getattr(segmentation, "origin_rc", (0, 0))
    settings = InstanceSettings(min_area_px=result_filter.min_area_px)
    if not result_filter.separate_touching:
        settings = replace(settings, neck=0)
    ids = {info.name: info.id for info in segmentation.classes}
    thresholds = {ids[name]: least for name, least in result_filter.thresholds.items() if name in ids}
    pieces = [
        Component(piece.class_id, piece.mask, piece.score)
        for piece in pieces_in(labels, confidence, settings, (top, left), thresholds)
    ]
    height, width = labels.shape
    box = (top, left, top + height, left + width)
    return Components(tuple(pieces), _used(segmentation.classes, pieces), segmentation.head, box)


def from_objects(objects: Objects) -> Components:
    """Take over objects from a file, with what our own export says of them."""
    pieces = [
        Component(one.class_id, one.mask, _number(one.details.get("score")), one.details)
        for one in objects.items
    ]
    return Components(tuple(pieces), _used(objects.classes, pieces))


def make_items(
    components: Components,
    first_id: int,
    to_id: Callable[[int], int],
    source: Source,
    model: str | None,
    taken: Callable[[Box], BoolArray] | None,
) -> list[tuple[AnnotatedObject, LocalMask]]:
    """Make new annotations of pieces, numbered from `first_id`.

    Args:
        components: The pieces.
        first_id: Id of the first.
        to_id: From their class ids to those of the document.
        source: How they came about, unless a piece says it itself.
        model: What made them, unless a piece says it itself.
        taken: Which pixels of a box they may not have; pieces of which nothing is left are left out.
    """
    items: list[tuple[AnnotatedObject, LocalMask]] = []
    taken_over = now()
    for piece in components.pieces:
        mask = piece.mask
        if taken is not None:
            mask = LocalMask(mask.row, mask.col, mask.bitmap & ~taken(bounds(mask)))
            if not mask.bitmap.any():
                continue
        known = piece.details
        annotation = AnnotatedObject(
            first_id + len(items),
            to_id(piece.class_id),
            known["source"] if known.get("source") in get_args(Source) else source,
            piece.score,
            str(known["model"]) if known.get("model") else model,
            _prompts(known.get("prompts")),
            _time(known.get("created")) or taken_over,
            reviewed=known.get("reviewed") is True,
            unsure=known.get("unsure") is True,
            modified=_time(known.get("modified")),
        )
        items.append((annotation, mask))
    return items


def match_classes(
    components: Components, classes: ClassList
) -> tuple[Callable[[int], int], tuple[ClassInfo, ...]]:
    """Find the classes of components on a list, by name, and add those that are missing.

    Args:
        components: With the classes of where they came from.
        classes: The list of the document; it is not changed.

    Returns:
        A function from their class ids to those of the list, and the list with what was missing.

    Raises:
        ClassListError: If more than 255 classes come together.
    """
    extended = ClassList(classes)
    ids: dict[int, int] = {}
    for info in components.classes:
        known = extended.find(info.name)
        if known is None:
            used = [other.color for other in extended]
            known = extended.add(info.name, next_color(used) if info.color in used else info.color)
        ids[info.id] = known.id
    return ids.__getitem__, extended.snapshot


def check_size(shape: tuple[int, ...], hw: tuple[int, int], what: str) -> None:
    """Raise an `ImageError` if a label map is not of the image's size (H, W)."""
    if shape != hw:
        size = " x ".join(str(side) for side in reversed(shape))
        raise ImageError(
            f"{what} is {size} px and the image {hw[1]} x {hw[0]} px (width x height); "
            "give one made from this image."
        )


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
    except OverflowError:
        return None


def _time(value: object) -> str | None:
    """Read a time as ISO 8601 with its zone; as `now` writes it, or None if it is none."""
    try:
        when = datetime.datetime.fromisoformat(value if isinstance(value, str) else "")
        return (
            None if when.tzinfo is None else when.astimezone(datetime.UTC).isoformat(timespec="milliseconds")
        )
    except (ValueError, OverflowError):
        return None


def _prompts(value: object) -> dict[str, Any]:
    """Read what `saving.details_of` writes of prompts, as records have it; empty if there is nothing to be read."""
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
    """Return numbers as floats.

    Raises:
        TypeError: If one is none.
        ValueError: If one is not finite.
        OverflowError: If one is too large.
    """
    if not all(math.isfinite(one) for one in values):
        raise ValueError("not a finite number")
    return [float(one) for one in values]


def _used(classes: Iterable[ClassInfo], pieces: Iterable[Component]) -> tuple[ClassInfo, ...]:
    """Keep the classes that pieces have; an id without a class gets a name from its number."""
    named = {info.id: info for info in classes}
    colors = [info.color for info in named.values()]
    for class_id in sorted({piece.class_id for piece in pieces}):
        if class_id not in named:
            named[class_id] = ClassInfo(class_id, f"class {class_id}", next_color(colors))
            colors.append(named[class_id].color)
    used = {piece.class_id for piece in pieces}
    return tuple(info for info in named.values() if info.id in used)
