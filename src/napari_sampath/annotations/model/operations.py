"""Everything that can be done to a document, as values: performed, journalled and replayed alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...arrays import ClassInfo, LocalMask
from ...run_lengths import mask_from_json, mask_to_json
from .annotated_object import FLAGS, AnnotatedObject, FlagName, from_json, to_json


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """Give pixels to annotations, in order; later ones overwrite earlier ones."""

    items: tuple[tuple[AnnotatedObject, LocalMask], ...]
    """An annotation whose id exists already is extended and keeps its class. It keeps its record, too, unless the one
    given has a time at which it was modified."""
    classes: tuple[ClassInfo, ...] | None = None
    """The class list to have first, if classes come with the annotations."""


@dataclass(frozen=True, slots=True, eq=False)
class Erase:
    """Take pixels away from whatever annotations they belong to."""

    mask: LocalMask


@dataclass(frozen=True, slots=True)
class Delete:
    """Take annotations away with all their pixels."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reclassify:
    """Give annotations another class."""

    ids: tuple[int, ...]
    class_id: int


@dataclass(frozen=True, slots=True)
class SetClasses:
    """Replace the class list; classes in use stay on it."""

    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """Tick or untick one of `FLAGS` on annotations."""

    ids: tuple[int, ...]
    flag: FlagName
    value: bool


@dataclass(frozen=True, slots=True, eq=False)
class Verify:
    """Mark an area as annotated to the end, or take the mark back."""

    mask: LocalMask
    value: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Several operations as one step, all or none."""

    operations: tuple[Operation, ...]
    name: str
    """In the user's words, to follow "Undid"."""


Operation: TypeAlias = Add | Erase | Delete | Reclassify | SetClasses | Flag | Verify | Batch

_ADDED = {
    "head": "the automatic result",
    "import": "the import",
    "brush": "the brush stroke",
}


def label(operation: Operation) -> str:
    """Name an operation for messages, to follow "Undid"."""
    match operation:
        case Add(items=items):
            several = "the annotation" if len(items) == 1 else f"the {len(items)} annotations"
            return _ADDED.get(items[0][0].source, several) if items else "the import"
        case Erase():
            return "the erasing"
        case Delete(ids=ids):
            return "the deletion" if len(ids) == 1 else f"the deletion of {len(ids)} annotations"
        case Reclassify():
            return "the change of class"
        case SetClasses():
            return "the change to the class list"
        case Flag():
            return "the review mark"
        case Verify():
            return "the mark of the annotated area"
        case Batch(name=name):
            return name


def operation_to_json(operation: Operation) -> dict[str, Any]:
    """Write an operation as a JSON object whose "op" says which."""
    match operation:
        case Add(items=items, classes=classes):
            added = [{**to_json(annotation), "pixels": mask_to_json(mask)} for annotation, mask in items]
            extra = {} if classes is None else {"classes": classes_to_json(classes)}
            return {"op": "add", "annotations": added, **extra}
        case Erase(mask=mask):
            return {"op": "erase", "pixels": mask_to_json(mask)}
        case Delete(ids=ids):
            return {"op": "delete", "ids": list(ids)}
        case Reclassify(ids=ids, class_id=class_id):
            return {"op": "reclassify", "ids": list(ids), "class_id": class_id}
        case SetClasses(classes=classes):
            return {"op": "classes", "classes": classes_to_json(classes)}
        case Flag(ids=ids, flag=flag, value=value):
            return {"op": "flag", "ids": list(ids), "flag": flag, "value": value}
        case Verify(mask=mask, value=value):
            return {"op": "vouch", "pixels": mask_to_json(mask), "value": value}
        case Batch(operations=operations, name=name):
            return {"op": "batch", "name": name, "steps": [operation_to_json(one) for one in operations]}


def operation_from_json(fields: Mapping[str, Any]) -> Operation:
    """Read an operation that `operation_to_json` wrote.

    Raises:
        ValueError: If it is none, or a part of it does not fit.
        KeyError: If a part is missing.
    """
    match fields["op"]:
        case "add":
            items = tuple((from_json(one), mask_from_json(one["pixels"])) for one in fields["annotations"])
            classes = fields.get("classes")
            return Add(items, None if classes is None else classes_from_json(classes))
        case "erase":
            return Erase(mask_from_json(fields["pixels"]))
        case "delete":
            return Delete(tuple(fields["ids"]))
        case "reclassify":
            return Reclassify(tuple(fields["ids"]), fields["class_id"])
        case "classes":
            return SetClasses(classes_from_json(fields["classes"]))
        case "flag":
            if fields["flag"] not in FLAGS:
                raise ValueError(f"there is no mark '{fields['flag']}'")
            return Flag(tuple(fields["ids"]), fields["flag"], bool(fields["value"]))
        case "vouch":
            return Verify(mask_from_json(fields["pixels"]), bool(fields["value"]))
        case "batch":
            return Batch(tuple(operation_from_json(one) for one in fields["steps"]), str(fields["name"]))
        case unknown:
            raise ValueError(f"there is no operation '{unknown}'")


def classes_to_json(classes: tuple[ClassInfo, ...]) -> list[dict[str, Any]]:
    """Write classes as [{"id", "name", "color": [r, g, b]}, ...]."""
    return [{"id": info.id, "name": info.name, "color": list(info.color)} for info in classes]


def classes_from_json(entries: list[dict[str, Any]]) -> tuple[ClassInfo, ...]:
    """Read classes that `classes_to_json` wrote."""
    return tuple(ClassInfo(entry["id"], entry["name"], tuple(entry["color"])) for entry in entries)
