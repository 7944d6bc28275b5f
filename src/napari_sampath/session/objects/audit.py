"""Audit of labels: objects and areas that are probably mistakes, and their repair as one undo step.

The audit reads the maps only, needs no model, and is meant to run before training.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from scipy import ndimage

from ...annotations import (
    Add,
    AnnotatedObject,
    Batch,
    Box,
    Delete,
    Document,
    Flag,
    Operation,
    Verify,
    bounds,
)
from ...annotations.masks.shaping import components, filled
from ...arrays import BoolArray, LocalMask
from ...jobs import Job, Progress
from .overlap import merged_record
from .reshaping import reshaped, review_steps

Problem: TypeAlias = Literal["dot", "sliver", "fragments", "hole", "duplicate", "cut", "empty area"]

PROBLEMS: dict[Problem, tuple[str, str]] = {
    "dot": ("has at most 4 pixels", "delete it"),
    "sliver": ("is less than 3 pixels wide", "delete it"),
    "fragments": ("has small pieces apart from its main part", "remove the pieces"),
    "hole": ("has a small hole", "fill the hole"),
    "duplicate": ("was drawn twice", "merge both objects"),
    "cut": ("is cut off by the edge of the image", "mark it as unsure"),
    "empty area": ("is verified but contains no object", "mark it as not verified"),
}
"""Problem -> end of the sentence that describes it, and what the repair does."""

DOT_PX = 4
FRAGMENT_SHARE = 0.05
"""A piece with a smaller share of the area of its object is a fragment."""
HOLE_SHARE = 0.02
"""A hole with a smaller share of the area of its object is probably a mistake."""
SAME_BOX = 0.8
"""IoU of the bounding boxes above which two objects of a class are duplicates."""
EMPTY_SHARE = 0.05
"""Smallest share of the image of a verified area without objects that is reported."""
_BLOCK_PX = 1024
_STEP = 8
"""Step, in pixels, at which verified areas are examined."""
_SQUARE = np.ones((3, 3), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class Finding:
    """One probable mistake."""

    problem: Problem
    box: Box
    """Place (r0, c0, r1, c1) in image pixels."""
    ids: tuple[int, ...] = ()
    """The objects; empty for an area."""

    def sentence(self, document: Document) -> str:
        """Describe the finding and its repair: "nucleus 3 has a small hole; repair: fill the hole."."""
        what, repair = PROBLEMS[self.problem]
        record = document.objects.get(self.ids[0]) if self.ids else None
        name = f"The area at row {self.box[0]}, column {self.box[1]}"
        if record is not None:
            name = f"{document.classes.by_id(record.class_id).name} {record.id}"
        return f"{name} {what}; repair: {repair}."


def audit_job(document: Document) -> Job[list[Finding]]:
    """Make a job that looks for probable mistakes among the objects that are not unsure, and in the verified area."""
    objects = [obj for obj in document.objects.values() if obj.area_px and not obj.unsure]
    findings = list(_duplicates(objects))
    repeated = {number for finding in findings for number in finding.ids}
    for done, obj in enumerate(objects):
        if done % 64 == 0:
            yield Progress(done, len(objects), "Checking the objects", "objects")
        if obj.id not in repeated:
            mask = document.pixels(obj.id)
            problem = _problem_of(mask, obj, document)
            if problem is not None:
                findings.append(Finding(problem, bounds(mask), (obj.id,)))
    yield Progress(len(objects), len(objects), "Checking the objects", "objects")
    findings += _empty_areas(document)
    return sorted(findings, key=lambda finding: (list(PROBLEMS).index(finding.problem), finding.box))


def repair(document: Document, findings: Iterable[Finding]) -> Batch:
    """Return the operation that repairs findings as one undo step; objects that no longer exist are skipped."""
    steps: list[Operation] = []
    for finding in findings:
        if all(number in document.objects for number in finding.ids):
            steps += _REPAIRS[finding.problem](document, finding)
    return Batch(tuple(steps), "the repair")


def _problem_of(mask: LocalMask, obj: AnnotatedObject, document: Document) -> Problem | None:
    """Return the most serious problem of an object; None if there is none."""
    area = obj.area_px
    if area <= DOT_PX:
        return "dot"
    height, width = document.hw
    r0, c0, r1, c1 = bounds(mask)
    at_edge = r0 <= 0 or c0 <= 0 or r1 >= height or c1 >= width
    if mask.step == 1 and not ndimage.binary_erosion(np.pad(mask.bitmap, 1), _SQUARE).any():
        return "cut" if at_edge else "sliver"
    pieces = components(mask)
    if len(pieces) > 1 and min(piece.area_px for piece in pieces) < FRAGMENT_SHARE * area:
        return "fragments"
    if _small_holes(mask, document).bitmap.any():
        return "hole"
    return "cut" if at_edge else None


def _small_holes(mask: LocalMask, document: Document) -> LocalMask:
    """Return the small holes of a mask that belong to no other object."""
    holes = filled(mask).bitmap & ~mask.bitmap
    labels, count = ndimage.label(holes)
    if not count:
        return LocalMask(mask.row, mask.col, holes, mask.step)
    sizes = np.bincount(labels.ravel())
    small = sizes * mask.step**2 < HOLE_SHARE * mask.area_px
    small[0] = False
    kept = small[labels]
    if mask.step == 1:
        kept &= document.instance_map.window(bounds(mask)) == 0
    return LocalMask(mask.row, mask.col, kept, mask.step)


def _duplicates(objects: list[AnnotatedObject]) -> Iterator[Finding]:
    """Find pairs of objects of a class with almost equal bounding boxes; these include overwritten pixels."""
    by_class: dict[int, list[AnnotatedObject]] = defaultdict(list)
    for obj in objects:
        by_class[obj.class_id].append(obj)
    for members in by_class.values():
        boxes = np.array([obj.box for obj in members], dtype=np.float64)
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        used: set[int] = set()
        for index, obj in enumerate(members):
            low = np.maximum(boxes[index, :2], boxes[index + 1 :, :2])
            high = np.minimum(boxes[index, 2:], boxes[index + 1 :, 2:])
            shared = np.prod(np.clip(high - low, 0, None), axis=1)
            union = areas[index] + areas[index + 1 :] - shared
            for other in np.flatnonzero(shared > SAME_BOX * union).tolist():
                second = members[index + 1 + other]
                if not {obj.id, second.id} & used:
                    used |= {obj.id, second.id}
                    yield Finding("duplicate", obj.box, (obj.id, second.id))


def _empty_areas(document: Document) -> list[Finding]:
    """Find large connected parts of the verified area in which there is no object."""
    height, width = document.hw
    shape = -(-height // _STEP), -(-width // _STEP)
    verified, occupied = np.zeros(shape, dtype=np.bool_), np.zeros(shape, dtype=np.bool_)
    for r0 in range(0, height, _BLOCK_PX):
        for c0 in range(0, width, _BLOCK_PX):
            box = r0, c0, min(r0 + _BLOCK_PX, height), min(c0 + _BLOCK_PX, width)
            part = slice(r0 // _STEP, -(-box[2] // _STEP)), slice(c0 // _STEP, -(-box[3] // _STEP))
            verified[part] = document.verified(box)[::_STEP, ::_STEP]
            occupied[part] = _any_in_cells(document.instance_map.window(box) > 0)
    labels, count = ndimage.label(verified | occupied)
    with_objects = set(np.unique(labels[occupied]).tolist())
    boxes = ndimage.find_objects(labels)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    return [
        Finding(
            "empty area",
            (
                rows.start * _STEP,
                cols.start * _STEP,
                min(rows.stop * _STEP, height),
                min(cols.stop * _STEP, width),
            ),
        )
        for number, (rows, cols) in enumerate(boxes, start=1)
        if number not in with_objects and sizes[number] >= EMPTY_SHARE * labels.size
    ]


def _any_in_cells(mask: BoolArray) -> BoolArray:
    """Return which cells of 8 x 8 pixels of a mask contain a True pixel."""
    height, width = mask.shape
    padded = np.pad(mask, ((0, -height % _STEP), (0, -width % _STEP)))
    rows, cols = padded.shape
    blocks = padded.reshape(rows // _STEP, _STEP, cols // _STEP, _STEP)
    cells: BoolArray = np.asarray(blocks.any(axis=(1, 3)))
    return cells


def _delete(document: Document, finding: Finding) -> list[Operation]:
    parts = [part for number in finding.ids for part in document.parts(number)]
    return [Delete(finding.ids), *map(Verify, parts)]


def _keep_large_pieces(document: Document, finding: Finding) -> list[Operation]:
    (number,) = finding.ids
    mask = document.pixels(number)
    small = [piece for piece in components(mask) if piece.area_px < FRAGMENT_SHARE * mask.area_px]
    bitmap = mask.bitmap.copy()
    for piece in small:
        bitmap &= ~piece.window(bounds(mask), mask.step)
    return list(reshaped(document, number, LocalMask(mask.row, mask.col, bitmap, mask.step)))


def _fill(document: Document, finding: Finding) -> list[Operation]:
    (number,) = finding.ids
    mask = document.pixels(number)
    bitmap = mask.bitmap | _small_holes(mask, document).bitmap
    return list(reshaped(document, number, LocalMask(mask.row, mask.col, bitmap, mask.step)))


def _merge(document: Document, finding: Finding) -> list[Operation]:
    records = [document.record(number) for number in finding.ids]
    record = merged_record(records, sum(obj.area_px for obj in records))
    items = tuple((record, part) for number in finding.ids[1:] for part in document.parts(number))
    return [Add(items), *review_steps(record)]


def _mark_unsure(document: Document, finding: Finding) -> list[Operation]:
    return [Flag(finding.ids, "unsure", True)]


def _unverify(document: Document, finding: Finding) -> list[Operation]:
    r0, c0, r1, c1 = finding.box
    return [Verify(LocalMask(r0, c0, document.verified(finding.box)), False)] if r1 > r0 and c1 > c0 else []


_REPAIRS: dict[Problem, Callable[[Document, Finding], list[Operation]]] = {
    "dot": _delete,
    "sliver": _delete,
    "fragments": _keep_large_pieces,
    "hole": _fill,
    "duplicate": _merge,
    "cut": _mark_unsure,
    "empty area": _unverify,
}
