"""Operations on a document, as values that can be performed, written to the journal and replayed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ...arrays import ClassInfo, LocalMask
from ...files import convert
from ...formats.run_lengths import mask_from_json, mask_to_json
from ...jobs import releasing_gil
from .annotated_object import FlagName
from .classes import checked
from .object_file import Item, ObjectFile, item_to_json, items_from_json

if TYPE_CHECKING:
    from .document import Document


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """Assign pixels to objects, in order; later objects overwrite earlier ones."""

    items: Sequence[Item]
    """(record, mask) of each object. If the id exists, the object is extended and keeps its class; the other fields of
    its record are replaced only if the new record has a time `modified`."""
    classes: tuple[ClassInfo, ...] | None = None
    """Class list to set before adding; None keeps the current list."""
    file: ObjectFile | None = None
    """File beside the journal that holds the items; None writes them into the journal."""


@dataclass(frozen=True, slots=True, eq=False)
class Erase:
    """Remove pixels from their objects."""

    mask: LocalMask


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete objects."""

    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reclassify:
    """Change the class of objects."""

    ids: tuple[int, ...]
    class_id: int


@dataclass(frozen=True, slots=True)
class SetClasses:
    """Replace the class list; the new list must contain all classes in use."""

    classes: tuple[ClassInfo, ...]


@dataclass(frozen=True, slots=True)
class Flag:
    """Set or clear one of `FLAGS` on objects."""

    ids: tuple[int, ...]
    flag: FlagName
    value: bool


@dataclass(frozen=True, slots=True, eq=False)
class Verify:
    """Mark an area as verified, or remove the mark."""

    mask: LocalMask
    value: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Perform several operations as one undo step; either all of them take effect or none."""

    operations: tuple[Operation, ...]
    name: str
    """Noun phrase for messages such as "Undid {name}."."""


Operation: TypeAlias = Add | Erase | Delete | Reclassify | SetClasses | Flag | Verify | Batch

_ADDED = {
    "head": "the automatic result",
    "similar": "the similar objects",
    "text": "the classification by text",
    "import": "the import",
    "brush": "the brush stroke",
}


def label(operation: Operation) -> str:
    """Return a noun phrase that names an operation in messages such as "Undid {label}."."""
    match operation:
        case Add(items=items):
            several = "the object" if len(items) == 1 else f"the {len(items)} objects"
            return _ADDED.get(items[0][0].source, several) if items else "the import"
        case Erase():
            return "the erasure"
        case Delete(ids=ids):
            return "the deletion" if len(ids) == 1 else f"the deletion of {len(ids)} objects"
        case Reclassify():
            return "the change of class"
        case SetClasses():
            return "the change to the class list"
        case Flag():
            return "the review mark"
        case Verify():
            return "the change to the verified area"
        case Batch(name=name):
            return name


def operation_to_json(operation: Operation) -> dict[str, Any]:
    """Convert an operation to JSON; the key "op" names its type."""
    match operation:
        case Add(items=items, classes=classes, file=file):
            extra = {} if classes is None else {"classes": classes_to_json(classes)}
            if file is not None:
                return {"op": "add", **file.to_json(), **extra}
            return {
                "op": "add",
                "annotations": [item_to_json(item) for item in releasing_gil(items)],
                **extra,
            }
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
            return {"op": "batch", "name": name, "steps": [operation_to_json(step) for step in operations]}


def object_files(operation: Operation) -> list[ObjectFile]:
    """Return the files beside the journal that hold objects of an operation."""
    match operation:
        case Add(file=ObjectFile() as file):
            return [file]
        case Batch(operations=steps):
            return [file for step in steps for file in object_files(step)]
        case _:
            return []


def signature(document: Document) -> dict[str, str]:
    """Return the member "by" of a stored operation, which names the reader; empty if the reader has no name."""
    return {"by": document.reader} if document.reader else {}


def operation_from_json(
    fields: Mapping[str, Any],
    hw: tuple[int, int],
    read: Callable[[ObjectFile], Sequence[Item]] | None = None,
) -> Operation:
    """Convert the output of `operation_to_json` to an operation.

    Args:
        fields: The stored operation.
        hw: Size (H, W) of the image, which bounds the size of masks.
        read: Reads a file of objects; None refuses operations with files.

    Raises:
        ValueError: If the type is unknown, or a value is missing or not allowed.
    """
    match fields.get("op"):
        case "add":
            stored = fields.get("classes")
            classes = None if stored is None else classes_from_json(stored)
            if "file" in fields:
                file = ObjectFile.from_json(fields)
                if read is None:
                    raise ValueError(f"there is no journal beside which '{file.file}' could be")
                return Add(read(file), classes, file)
            entries = convert(fields.get("annotations"), list[Any], "annotations")
            return Add(tuple(items_from_json(entries, hw)), classes)
        case "erase":
            return Erase(mask_from_json(fields.get("pixels"), hw))
        case "delete":
            return Delete(_ids(fields))
        case "reclassify":
            return Reclassify(_ids(fields), convert(fields.get("class_id"), int, "class_id"))
        case "classes":
            return SetClasses(classes_from_json(fields.get("classes")))
        case "flag":
            flag: FlagName = convert(fields.get("flag"), FlagName, "flag")
            return Flag(_ids(fields), flag, convert(fields.get("value"), bool, "value"))
        case "vouch":
            value = convert(fields.get("value"), bool, "value")
            return Verify(mask_from_json(fields.get("pixels"), hw), value)
        case "batch":
            steps = convert(fields.get("steps"), list[dict[str, Any]], "steps")
            name = convert(fields.get("name"), str, "name")
            return Batch(tuple(operation_from_json(step, hw, read) for step in steps), name)
        case unknown:
            raise ValueError(f"the operation {str(unknown)[:40]} is unknown")


def _ids(fields: Mapping[str, Any]) -> tuple[int, ...]:
    ids: tuple[int, ...] = convert(fields.get("ids"), tuple[int, ...], "ids")
    return ids


def classes_to_json(classes: tuple[ClassInfo, ...]) -> list[dict[str, Any]]:
    """Convert classes to [{"id", "name", "color": [r, g, b]}, ...]."""
    return [{"id": info.id, "name": info.name, "color": list(info.color)} for info in classes]


def classes_from_json(entries: Any) -> tuple[ClassInfo, ...]:
    """Convert the output of `classes_to_json` to classes.

    Raises:
        ValueError: If a value is missing or not allowed.
    """
    return checked(convert(entries, tuple[ClassInfo, ...], "classes"))
