"""Changes to the class list of a project."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from ...annotations import ClassList
from ...annotations.model.classes import checked, clean_name, next_color
from ...arrays import ClassInfo
from ...errors import DatasetError
from ...formats import DatasetFolder
from .content import ProjectContent


def with_classes(content: ProjectContent, classes: tuple[ClassInfo, ...]) -> ProjectContent:
    """Replace the class list and record the former names of renamed classes.

    Raises:
        DatasetError: If an existing class is missing.
        ClassListError: If a new name is empty or too long.
    """
    by_id = {info.id: info for info in classes}
    renamed = dict(content.renamed)
    for info in set(classes) - set(content.classes):
        clean_name(info.name)
    for info in content.classes:
        if info.id not in by_id:
            raise DatasetError(
                f"The class '{info.name}' is missing from the new list; remove it from the project instead."
            )
        renamed = _with_rename(renamed, info, by_id[info.id])
    return replace(content, classes=classes, renamed=renamed)


def without_class(content: ProjectContent, class_id: int, into: int | None) -> ProjectContent:
    """Remove a class; its objects in images that are not open become those of the class `into`.

    Raises:
        UnknownNameError: If there is no such class.
        DatasetError: If both classes are the same.
    """
    info = ClassList(content.classes).by_id(class_id)
    target = None if into is None else ClassList(content.classes).by_id(into)
    if target is not None and target.id == info.id:
        raise DatasetError(f"The class '{info.name}' cannot be merged with itself; choose another class.")

    kept = tuple(other for other in content.classes if other.id != class_id)
    renamed = {old: new for old, new in content.renamed.items() if new != info.name}
    if target is not None:
        renamed |= {old: target.name for old, new in content.renamed.items() if new == info.name}
        renamed[info.key] = target.name
    return replace(content, classes=kept, renamed=renamed)


def extended(classes: Sequence[ClassInfo], new: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Append the classes whose names are new; a number or colour that is taken is replaced.

    Raises:
        ClassListError: If there are more than 255 classes.
    """
    result = ClassList(classes)
    for info in checked(new):
        if result.find(info.name) is not None:
            continue
        colors = {other.color for other in result}
        info = replace(info, color=next_color(colors) if info.color in colors else info.color)
        if info.id in result:
            result.add(info.name, info.color)
        else:
            result.restore((*result.snapshot, info))
    return result.snapshot


def write_classes(dataset: DatasetFolder, classes: Sequence[ClassInfo], used: Collection[int] = ()) -> None:
    """Write names and colours of a class list to the dataset of the project, and add classes that are used.

    Classes that no sample has are left out, because a head cannot learn them.

    Args:
        dataset: The dataset.
        classes: The class list of the project.
        used: Numbers of the classes of a new sample.
    """
    present = {info.id: info for info in dataset.classes}
    wanted = [info for info in classes if info.id in present or info.id in used]
    ids = {info.id for info in wanted}
    others = [info for info in dataset.classes if info.id not in ids]
    result = (*(info for info in others if info.id == 0), *wanted, *(info for info in others if info.id > 0))
    if result != dataset.classes:
        dataset.set_classes(result)


def _with_rename(renamed: dict[str, str], before: ClassInfo, after: ClassInfo) -> dict[str, str]:
    """Record that a class has another name, also for names that it had before."""
    if before.name == after.name:
        return renamed
    renamed = {old: after.name if new == before.name else new for old, new in renamed.items()}
    if before.key != after.key:
        renamed[before.key] = after.name
        renamed.pop(after.key, None)
    return renamed
