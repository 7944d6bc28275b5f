"""Give an image of a project the project's class list and, on a new machine, the annotations of its sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...arrays import BoolArray, ClassInfo, LocalMask
from ...formats import Objects
from ...formats.labels import Labels
from ..objects.class_adoption import unknown_classes
from ..proposals.new_objects import NewObjects, from_file
from ..session import Session
from .class_list import extended
from .project import Project


@dataclass(frozen=True, slots=True, eq=False)
class SampleAnnotations:
    """The annotations of a training sample."""

    objects: NewObjects
    verified: BoolArray
    """(H, W) bool, the verified area."""


def read_sample(project: Project, digest: str) -> SampleAnnotations | None:
    """Read the annotations of the training sample of an image; None if there is no sample, or it has none.

    Raises:
        DatasetError, ImageError: If its files are damaged.
    """
    image = project.find(digest)
    if image is None or image.sample not in project.dataset.images:
        return None
    item = project.dataset.read(image.sample)
    annotations = item.provenance.get("annotations")
    details = {}
    if isinstance(annotations, dict):
        details = {
            int(number): values
            for number, values in annotations.items()
            if str(number).isdecimal() and isinstance(values, dict)
        }
    instances = item.instances if item.instances is not None else item.labels * 0
    classes = tuple(info for info in project.dataset.classes if info.id > 0)
    objects = Objects.of(Labels(item.labels, instances.astype("int32"), classes, details))
    if not objects.items and not item.annotated.any():
        return None
    return SampleAnnotations(from_file(objects), item.annotated)


def restore_sample(session: Session, sample: SampleAnnotations | None) -> bool:
    """Add the annotations of a sample to a session that was never changed; return True if they were added.

    A project that comes from another machine has samples, but no journals.

    Raises:
        StorageError: If the change cannot be saved.
    """
    if sample is None or not session.untouched:
        return False
    if sample.objects.objects:
        session.files.import_change(sample.objects).apply()
    if sample.verified.any():
        session.area.mark(LocalMask(0, 0, sample.verified))
    return True


def join_project(session: Session, project: Project) -> str | None:
    """Give a session the class list of its project, after adding the classes that only this image has.

    A project without classes gets all classes of the image.

    Returns:
        A sentence about added classes; None if there are none.

    Raises:
        SampathError: If the class list would have more than 255 classes, or a file cannot be written.
    """
    if project.classes:
        unknown = unknown_classes(session.document, project.classes, project.renamed)
    else:
        unknown = session.classes.snapshot
    if unknown:
        project.add_classes(unknown)
    session.class_tools.adopt(project.classes, project.renamed)
    if not unknown:
        return None
    names = ", ".join(f"'{info.name}'" for info in unknown)
    return f"Added {names} to the class list of the project '{project.name}'."


def follow_classes(project: Project, before: Sequence[ClassInfo], after: Sequence[ClassInfo]) -> str | None:
    """Apply edits of the class list of an open image to the project.

    New classes, names, colours and the order are applied. A class that was deleted in the image stays in
    the project, because other images may use it.

    Args:
        project: The project.
        before: The class list of the image before the edit.
        after: The class list after the edit.

    Returns:
        A sentence about a class that stays in the project; None if there is none.
    """
    numbers = {info.key: info.id for info in before}
    if any(numbers.get(info.key, info.id) != info.id for info in after):
        return None  # A change of numbers was undone; classes are matched by name until the image is opened again.
    former = {info.id: info for info in before}
    wanted: tuple[ClassInfo, ...] = project.classes
    for info in after:
        old = former.get(info.id)
        if old is None:
            wanted = extended(wanted, (info,))
        elif old != info:
            wanted = tuple(info if (c.id, c.key) == (old.id, old.key) else c for c in wanted)
    if {info.id for info in after} == {info.id for info in wanted}:
        order = [info.id for info in after]
        wanted = tuple(sorted(wanted, key=lambda info: order.index(info.id)))
    if wanted != project.classes:
        project.set_classes(wanted)
    kept = {info.id for info in after}
    present = {info.key for info in project.classes}
    deleted = [info.name for info in before if info.id not in kept and info.key in present]
    if not deleted:
        return None
    return (
        f"'{deleted[0]}' was deleted in this image, but stays in the project '{project.name}'; remove it in the "
        "Project tab."
    )
