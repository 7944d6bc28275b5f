"""Changes to many objects, applied directly or prepared in a worker thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..annotations import AnnotatedObject, Document, Operation, Prepared, prepare
from ..jobs import Job, Progress
from .editor import Editor

NOTHING = "Nothing was found, so nothing was added."


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """A change to the document of a session, as one undo step.

    `apply` makes the change directly. For thousands of objects, run the job of `prepare` in a worker thread and pass
    its result to `take`, which is fast for changes of any size.
    """

    editor: Editor
    plan: Callable[[Document], Operation | None]
    """Returns the operation for a document without changing it; None if there is nothing to do."""

    def apply(self) -> list[AnnotatedObject]:
        """Apply and save the change.

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
        """Make a job that computes the change for the current document; it can run in any thread.

        Returns:
            The job; its result is None if there is nothing to do.
        """
        return _prepare(self.plan, *self.editor.fork())

    def take(self, prepared: Prepared | None) -> list[AnnotatedObject] | None:
        """Apply and save the change that the job of `prepare` computed.

        Returns:
            The new objects; None, without any effect, if the document has changed since `prepare` was called: call
            `prepare` again.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
        """
        if prepared is None:
            self.editor.message.emit(NOTHING)
            return []
        if not self.editor.take(prepared):
            return None
        before, after = prepared.patch.before, prepared.patch.after
        return [record for key, record in after.items() if record is not None and before[key] is None]


def _prepare(
    plan: Callable[[Document], Operation | None], fork: Document, number: int
) -> Job[Prepared | None]:
    yield Progress(0, 0, "Adding objects")
    operation = plan(fork)
    return None if operation is None else prepare(fork, number, operation)
