"""Merge and delete classes together with their objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ...annotations import Batch, Delete, Document, Operation, Reclassify, SetClasses
from ...arrays import ClassInfo
from ...errors import ClassListError
from .class_adoption import plan_adoption


@dataclass(frozen=True, slots=True)
class ClassUse:
    """Objects that belong to a class."""

    ids: tuple[int, ...]
    area_px: int
    """Total area of the objects in pixels."""


class ClassTools:
    """Merges and deletes the classes of a session; use `Session.classes` to add, rename, recolour and move them.

    Args:
        document: The document.
        do: Performs and saves an operation.
    """

    def __init__(self, document: Document, do: Callable[[Operation], None]) -> None:
        self._document = document
        self._do = do

    def use(self, class_id: int) -> ClassUse:
        """Return the objects that merging or deleting a class would affect.

        Raises:
            UnknownNameError: If there is no such class.
        """
        info = self._document.classes.by_id(class_id)
        objects = [obj for obj in self._document.objects.values() if obj.class_id == info.id]
        return ClassUse(tuple(obj.id for obj in objects), sum(obj.area_px for obj in objects))

    def merge(self, class_id: int, into: int) -> ClassUse:
        """Move all objects of a class to another class and remove the class, as one undo step.

        Returns:
            The objects that were moved.

        Raises:
            UnknownNameError: If there is no such class.
            ClassListError: If both classes are the same.
        """
        affected, target = self.use(class_id), self._document.classes.by_id(into)
        if target.id == class_id:
            raise ClassListError(
                f"The class '{target.name}' cannot be merged with itself; choose another class."
            )
        self._do(Batch((Reclassify(affected.ids, into), self._without(class_id)), "the merge of the classes"))
        return affected

    def delete(self, class_id: int) -> ClassUse:
        """Delete a class and its objects, as one undo step; show the user the result of `use` first.

        The pixels do not become verified background, because they may belong to another class.

        Returns:
            The objects that were deleted.

        Raises:
            UnknownNameError: If there is no such class.
        """
        affected = self.use(class_id)
        self._do(Batch((Delete(affected.ids), self._without(class_id)), "the deletion of the class"))
        return affected

    def adopt(self, classes: Sequence[ClassInfo], renamed: Mapping[str, str] | None = None) -> bool:
        """Replace the class list by that of a project, matching classes by name, as one undo step.

        Objects get the class numbers of the project. Classes that only this image has are kept if they have objects.

        Args:
            classes: The class list of the project.
            renamed: `ClassInfo.key` of a former name -> current name.

        Returns:
            True if the list was replaced; False if it was the same already.

        Raises:
            ClassListError: If there would be more than 255 classes.
            StorageError: If the change cannot be saved; nothing has changed.
        """
        operation = plan_adoption(self._document, classes, renamed or {})
        if operation is not None:
            self._do(operation)
        return operation is not None

    def _without(self, class_id: int) -> SetClasses:
        return SetClasses(tuple(info for info in self._document.classes if info.id != class_id))
