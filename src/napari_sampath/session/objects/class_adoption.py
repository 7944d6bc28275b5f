"""Plan the step that gives an image the class list of a project, with the project's class numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ...annotations import Batch, ClassList, Document, Operation, Reclassify, SetClasses
from ...arrays import ClassInfo, class_key
from ...errors import ClassListError

_LABEL = "the change to the class list of the project"


def plan_adoption(
    document: Document, classes: Sequence[ClassInfo], renamed: Mapping[str, str]
) -> Operation | None:
    """Plan the replacement of the class list of a document; objects keep the names of their classes.

    Args:
        document: The document.
        classes: The class list of the project.
        renamed: `ClassInfo.key` of a former name -> current name.

    Returns:
        The operation; None if the list is the same already.

    Raises:
        ClassListError: If there are more than 255 classes, or too few free numbers to exchange numbers.
    """
    used = {obj.class_id for obj in document.objects.values()}
    adopted = ClassList(classes)
    ids: dict[int, int] = {}
    """Number of a class in use -> its number in the project."""
    for info in document.classes:
        match = adopted.find(renamed.get(info.key, info.name)) or adopted.find(info.name)
        if match is None and info.id in used:
            if info.id in adopted:
                match = adopted.add(info.name, info.color)
            else:
                adopted.restore((*adopted.snapshot, info))
                match = info
        if match is not None and info.id in used:
            ids[info.id] = match.id
    if document.classes.snapshot == adopted.snapshot:
        return None
    moves = {old: new for old, new in ids.items() if old != new}
    if not moves:
        return SetClasses(adopted.snapshot)
    return Batch(_exchange(document, adopted.snapshot, moves), _LABEL)


def unknown_classes(
    document: Document, classes: Sequence[ClassInfo], renamed: Mapping[str, str]
) -> tuple[ClassInfo, ...]:
    """Return the classes of objects that a project has neither under their current nor under a former name."""
    used = {obj.class_id for obj in document.objects.values()}
    present = ClassList(classes)
    return tuple(
        info
        for info in document.classes
        if info.id in used and present.find(info.name) is None and renamed.get(info.key) is None
    )


def _exchange(
    document: Document, final: tuple[ClassInfo, ...], moves: Mapping[int, int]
) -> tuple[Operation, ...]:
    """Move objects to other class numbers through unused ones, because numbers may be exchanged."""
    present = document.classes.snapshot
    taken = {info.id for info in (*present, *final)}
    unused = [number for number in range(255, 0, -1) if number not in taken]
    if len(unused) < len(moves):
        raise ClassListError(
            f"The image has {len(present)} classes and the project {len(final)}, which leaves too few numbers to "
            "exchange them; delete classes that you do not use."
        )
    temporary = dict(zip(moves, unused, strict=False))
    names = {class_key(info.name) for info in (*present, *final)}
    bridge = []
    for old, number in temporary.items():
        name = f"class {number}"
        while class_key(name) in names:
            name += "'"
        bridge.append(replace(document.classes.by_id(old), id=number, name=name))
    objects: dict[int, tuple[int, ...]] = dict.fromkeys(moves, ())
    for obj in document.objects.values():
        if obj.class_id in objects:
            objects[obj.class_id] += (obj.id,)
    return (
        SetClasses((*present, *bridge)),
        *(Reclassify(objects[old], number) for old, number in temporary.items()),
        SetClasses((*final, *bridge)),
        *(Reclassify(objects[old], moves[old]) for old in temporary),
        SetClasses(final),
    )
