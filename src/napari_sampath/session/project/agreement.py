"""Agreement of two readers on one image, their disagreements, and the consensus of both versions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np

from ...annotations import AnnotatedObject, Box, Document
from ...annotations.masks.masks import union
from ...annotations.model.operations import Add, Batch, Delete, Operation
from ...arrays import ClassInfo, IntArray, LocalMask
from ...errors import DatasetError

MATCH_IOU = 0.5
"""Two objects are the same if their IoU is above this; then at most one object of the other reader matches."""

Kind: TypeAlias = Literal["first only", "second only", "class"]
"""Who has the object; "class" if both have it, with different classes."""


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """Agreement on one class; None where neither reader used the class."""

    name: str
    dice: float | None
    """2 |A and B| / (|A| + |B|) of the pixels, 0..1 (Dice 1945)."""
    f1: float | None
    """F1 of the objects: those of both readers with an IoU above `MATCH_IOU` and this class count as found."""
    first: int
    """Number of objects of the first reader."""
    second: int


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An object on which the readers disagree."""

    kind: Kind
    box: Box
    """Bounding box (r0, c0, r1, c1) in pixels."""
    first_id: int
    """Object of the first reader; 0 for none."""
    second_id: int
    text: str
    """One phrase, such as "first only: nucleus"."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Comparison of two versions of the annotations of one image."""

    classes: tuple[ClassAgreement, ...]
    kappa: float
    """Cohen's kappa of the classes of all pixels, with the background as a class; 1 is full agreement, 0 is chance
    (Cohen 1960)."""
    matched: int
    """Number of objects on which both agree."""
    disagreements: tuple[Disagreement, ...]
    """The largest first."""


def compare(first: Document, second: Document) -> Agreement:
    """Compare two versions of the annotations of one image; classes are compared by name.

    Raises:
        DatasetError: If the images differ in size.
    """
    if first.hw != second.hw:
        raise DatasetError(
            f"The first version is of an image with {first.hw[1]} x {first.hw[0]} px, the second of one with "
            f"{second.hw[1]} x {second.hw[0]} px; compare two versions of one image."
        )
    names = _class_names(first, second)
    overlaps = _overlaps(first, second)
    table = _class_table(first, second, names, overlaps)
    pairs = _matches(first, second, overlaps)
    same = {a: b for a, b in pairs.items() if _key(first, a) == _key(second, b)}
    agreed = Counter(_key(first, number) for number in same)
    classes = []
    for place, (key, name) in enumerate(names.items(), start=1):
        counts = [sum(_key(doc, number) == key for number in doc.objects) for doc in (first, second)]
        pixels = int(table[place].sum() + table[:, place].sum())
        dice = 2 * int(table[place, place]) / pixels if pixels else None
        f1 = 2 * agreed[key] / sum(counts) if sum(counts) else None
        classes.append(ClassAgreement(name, dice, f1, *counts))
    return Agreement(
        tuple(classes), _kappa(table), len(same), tuple(_disagreements(first, second, pairs, same))
    )


def consensus(
    first: Document, second: Document, agreement: Agreement, choices: Mapping[Disagreement, str]
) -> Operation | None:
    """Return the step that turns the first version into the consensus; None if nothing changes.

    Args:
        first: The version to change.
        second: The other version.
        agreement: Their comparison.
        choices: Disagreement -> "first", "second" or "neither"; "first", the default, keeps the first version.
    """
    removed: list[int] = []
    added: list[tuple[AnnotatedObject, LocalMask]] = []
    classes = {info.key: info.id for info in first.classes}
    missing: list[ClassInfo] = []
    for disagreement in agreement.disagreements:
        choice = choices.get(disagreement, "first")
        if choice == "first":
            continue
        if disagreement.first_id:
            removed.append(disagreement.first_id)
        if choice == "second" and disagreement.second_id:
            obj = second.record(disagreement.second_id)
            info = second.classes.by_id(obj.class_id)
            if info.key not in classes:
                taken = {*classes.values(), *(other.id for other in missing)}
                number = info.id if info.id not in taken else min(set(range(1, 256)) - taken)
                missing.append(replace(info, id=number))
                classes[info.key] = number
            number = first.next_id + len(added)
            added.append((replace(obj, id=number, class_id=classes[info.key]), second.pixels(obj.id)))
    steps: list[Operation] = [Delete(tuple(removed))] if removed else []
    if added:
        steps.append(Add(tuple(added), (*first.classes.snapshot, *missing) if missing else None))
    return Batch(tuple(steps), "the consensus") if steps else None


def resolve(agreement: Agreement, rule: str) -> dict[Disagreement, str]:
    """Decide all disagreements by a rule: "agreed" keeps what both have, "all" keeps the objects of both readers."""
    if rule == "all":
        return {entry: "second" for entry in agreement.disagreements if entry.kind == "second only"}
    return dict.fromkeys(agreement.disagreements, "neither")


def report(agreement: Agreement) -> dict[str, Any]:
    """Return the figures as JSON values."""
    return {
        "kappa": agreement.kappa,
        "matched": agreement.matched,
        "disagreements": len(agreement.disagreements),
        "classes": [
            {
                "name": entry.name,
                "dice": entry.dice,
                "f1": entry.f1,
                "first": entry.first,
                "second": entry.second,
            }
            for entry in agreement.classes
        ],
    }


def _class_names(*documents: Document) -> dict[str, str]:
    """Return class key -> name, for the classes of all objects."""
    names: dict[str, str] = {}
    for document in documents:
        used = {obj.class_id for obj in document.objects.values()}
        names |= {
            info.key: info.name for info in document.classes if info.id in used and info.key not in names
        }
    return names


def _key(document: Document, object_id: int) -> str:
    return document.classes.by_id(document.record(object_id).class_id).key


def _overlaps(first: Document, second: Document) -> Counter[tuple[int, int]]:
    """Count the pixels of each pair of object ids; 0 is the background. Tiles that both leave empty are not read."""
    counts: Counter[tuple[int, int]] = Counter()
    boxes = {*first.instance_map.filled_boxes(), *second.instance_map.filled_boxes()}
    area = 0
    for box in boxes:
        ours, theirs = (doc.instance_map.window(box).astype(np.int64).ravel() for doc in (first, second))
        pairs, numbers = np.unique((ours << 32) | theirs, return_counts=True)
        area += len(ours)
        for pair, number in zip(pairs.tolist(), numbers.tolist(), strict=True):
            counts[pair >> 32, pair & 0xFFFFFFFF] += number
    counts[0, 0] += first.hw[0] * first.hw[1] - area
    return counts


def _class_table(
    first: Document, second: Document, names: Mapping[str, str], overlaps: Mapping[tuple[int, int], int]
) -> IntArray:
    """Return the pixels by class of the first and of the second reader, (K + 1, K + 1); 0 is the background."""
    place = {key: number for number, key in enumerate(names, start=1)}
    table: IntArray = np.zeros((len(names) + 1, len(names) + 1), np.int64)
    for (ours, theirs), number in overlaps.items():
        row = place[_key(first, ours)] if ours else 0
        table[row, place[_key(second, theirs)] if theirs else 0] += number
    return table


def _kappa(table: IntArray) -> float:
    total = int(table.sum())
    observed = float(np.trace(table)) / total
    expected = float((table.sum(axis=0).astype(float) * table.sum(axis=1)).sum()) / total**2
    return 1.0 if expected >= 1 else (observed - expected) / (1 - expected)


def _matches(first: Document, second: Document, overlaps: Mapping[tuple[int, int], int]) -> dict[int, int]:
    """Match the objects of the first reader with those of the second that have an IoU above `MATCH_IOU`."""
    matches = {}
    for (ours, theirs), number in overlaps.items():
        if ours and theirs:
            joint = first.record(ours).area_px + second.record(theirs).area_px - number
            if number > MATCH_IOU * joint:
                matches[ours] = theirs
    return matches


def _disagreements(
    first: Document, second: Document, pairs: Mapping[int, int], same: Mapping[int, int]
) -> Sequence[Disagreement]:
    entries: list[tuple[int, Disagreement]] = []
    for number, obj in first.objects.items():
        if number in same:
            continue
        name, other = _name(first, number), pairs.get(number, 0)
        kind: Kind = "class" if other else "first only"
        box, text = obj.box, f"first only: {name}"
        if other:
            box = union(obj.box, second.record(other).box) or obj.box
            text = f"first {name}, second {_name(second, other)}"
        entries.append((obj.area_px, Disagreement(kind, box, number, other, text)))
    found = set(pairs.values())
    for number, obj in second.objects.items():
        if number not in found:
            text = f"second only: {_name(second, number)}"
            entries.append((obj.area_px, Disagreement("second only", obj.box, 0, number, text)))
    return [entry for _, entry in sorted(entries, key=lambda pair: (-pair[0], pair[1].box))]


def _name(document: Document, object_id: int) -> str:
    return document.classes.by_id(document.record(object_id).class_id).name
