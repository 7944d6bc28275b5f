"""Changes of the class list that change objects too, and what they would affect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ...annotations import Batch, Delete, Document, Operation, Reclassify, SetClasses
from ...errors import ClassListError


@dataclass(frozen=True, slots=True)
class ClassUse:
    """What has a class."""

    ids: tuple[int, ...]
    """Annotations of the class."""
    area_px: int
    """Their pixels together."""


class ClassTools:
    """Merging and deleting classes of a session; adding, renaming ... is done on its `classes`.

    Args:
        document: The document.
        do: Does and saves an operation.
    """

    def __init__(self, document: Document, do: Callable[[Operation], None]) -> None:
        self._document = document
        self._do = do

    def use(self, class_id: int) -> ClassUse:
        """Return what merging or deleting a class would affect.

        Raises:
            UnknownNameError: If there is no such class.
        """
        info = self._document.classes.by_id(class_id)
        users = [one for one in self._document.objects.values() if one.class_id == info.id]
        return ClassUse(tuple(one.id for one in users), sum(one.area_px for one in users))

    def merge(self, class_id: int, into: int) -> ClassUse:
        """Give all objects of a class another class and take the class off the list, as one step.

        Returns:
            What got the other class.

        Raises:
            UnknownNameError: If there is no such class.
            ClassListError: If both are the same.
        """
        affected, target = self.use(class_id), self._document.classes.by_id(into)
        if target.id == class_id:
            raise ClassListError(
                f"The class '{target.name}' cannot be merged with itself; choose another one."
            )
        self._do(Batch((Reclassify(affected.ids, into), self._without(class_id)), "the merging of classes"))
        return affected

    def delete(self, class_id: int) -> ClassUse:
        """Take a class off the list together with all its objects, as one step; ask before, with `use`.

        Their pixels do not become verified: deleting a class says nothing about other classes there.

        Returns:
            What was deleted with it.

        Raises:
            UnknownNameError: If there is no such class.
        """
        affected = self.use(class_id)
        self._do(Batch((Delete(affected.ids), self._without(class_id)), "the deletion of the class"))
        return affected

    def _without(self, class_id: int) -> SetClasses:
        return SetClasses(tuple(info for info in self._document.classes if info.id != class_id))
