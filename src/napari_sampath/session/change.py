"""Changes of many objects, done at once or prepared in a worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..annotations import AnnotatedObject, Document, Operation, Prepared, prepare
from ..jobs import Job, Progress
from .editor import Editor

NOTHING = "Nothing was found, so nothing was added."


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A change of a session's document as one step of undo.

    `apply` does it at once. For thousands of objects, run the job of `prepare` in a worker and hand its result to
    `take`, which is fast however large the change is.
    """

    editor: Editor
    plan: Callable[[Document], Operation | None]
    """Works out the operation for a document, which it does not change; None if there is nothing to do."""

    def apply(self) -> list[AnnotatedObject]:
        """Do and save the change.

        Returns:
            The new objects.

        Raises:
            ClassListError: If there would be more than 255 classes.
            StorageError: If it cannot be saved; nothing has changed.
        """
        document = self.editor.document
        operation, first = self.plan(document), document.next_id
        if operation is None:
            self.editor.message.emit(NOTHING)
            return []
        self.editor.do(operation)
        return [obj for obj in document.objects.values() if obj.id >= first]

    def prepare(self) -> Job[Prepared | None]:
        """Make a job that computes the change for the document as it is now, in any thread.

        Returns:
            The job; its result is None if there is nothing to do.
        """
        return _prepare(self.plan, *self.editor.fork())

    def take(self, prepared: Prepared | None) -> list[AnnotatedObject] | None:
        """Do and save the change that the job of `prepare` computed.

        Returns:
            The new objects; None if the document has changed since `prepare` was called. Nothing is done then;
            call `prepare` again.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
        """
        if prepared is None:
            self.editor.message.emit(NOTHING)
            return []
        if not self.editor.take(prepared):
            return None
        changed = (prepared.patch.records or {}).values()
        return [after for before, after in changed if before is None and after is not None]


def _prepare(
    plan: Callable[[Document], Operation | None], fork: Document, number: int
) -> Job[Prepared | None]:
    yield Progress(0, 0, "Adding the objects")
    operation = plan(fork)
    return None if operation is None else prepare(fork, number, operation)
