"""Changes of large areas: computed in a worker thread, and applied in the order in which the user made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from psygnal import Signal

from ..annotations import Document, Operation, Prepared, bounds, prepare
from ..annotations.masks.steps import PIECE_PX
from ..arrays import LocalMask
from ..errors import SampathError
from ..jobs import Job, Progress
from .editor import Editor
from .objects.object_tools import ObjectTools
from .undone import UndoneItems

LARGE_PX = PIECE_PX
"""Changes inside boxes of more pixels, 4 megapixels, are computed in a worker thread."""
MAX_ATTEMPTS = 3
"""Number of attempts to compute a change in the background if the document changes meanwhile; after them, it is
computed in the thread of the session."""

Do: TypeAlias = Callable[[Operation], None]
Run: TypeAlias = Callable[[Document, Do], object]


@dataclass(slots=True, eq=False)
class LargeChange:
    """A change that the user has made and that is not in the document yet."""

    run: Run
    """Function that changes a document by at most one call of the given function; it can run in any thread."""
    name: str
    """Noun phrase for messages, such as "the brush stroke"."""
    done: Callable[[object], object]
    """Receives the result of `run` when the change was applied."""
    failed: Callable[[SampathError], object] | None
    """Receives the error if the change cannot be made; by default the session shows its message."""
    attempts: int = MAX_ATTEMPTS


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """A change that was made on a fork of the document."""

    change: LargeChange
    prepared: Prepared | None = None
    """The operation; None if there was nothing to do."""
    result: object = None
    error: SampathError | None = None


class LargeChanges:
    """Queue of the changes of a session that are computed in a worker thread.

    Small changes are made at once, unless an earlier change is still being computed. Run the jobs of `job` in a worker
    thread while there are changes, and pass their results to `accept`. Use the queue in the thread of the session.

    Args:
        editor: The document and its undo history.
    """

    changed = Signal()
    """Emitted when a change was added, applied or removed, or must be computed again."""

    def __init__(self, editor: Editor) -> None:
        self._editor = editor
        self._items: list[LargeChange] = []
        self._undone: UndoneItems[LargeChange] = UndoneItems(editor.history)

    def __len__(self) -> int:
        return len(self._items)

    def submit(
        self,
        run: Run,
        size_px: int,
        name: str,
        done: Callable[[object], object] = lambda _: None,
        failed: Callable[[SampathError], object] | None = None,
    ) -> None:
        """Make a change at once if it is small, otherwise queue it; the arguments are those of `LargeChange`.

        Args:
            run: See `LargeChange`.
            size_px: Number of pixels in the bounding boxes of what changes.
            name: See `LargeChange`.
            done: See `LargeChange`.
            failed: See `LargeChange`; not used if the change is made at once.

        Raises:
            SampathError: If the change is made at once and fails; nothing has changed.
        """
        if size_px <= LARGE_PX and not self._items:
            done(run(self._editor.document, self._editor.do))
            return
        self._items.append(LargeChange(run, name, done, failed))
        self._undone.forget()
        self.changed.emit()

    def edit(
        self,
        ids: Iterable[int],
        call: Callable[[ObjectTools], object],
        name: str,
        done: Callable[[object], object] = lambda _: None,
    ) -> None:
        """Apply a method of `ObjectTools` to objects, at once if they are small; raises as `submit`."""
        boxes = [self._editor.document.record(object_id).box for object_id in ids]
        size_px = sum((r1 - r0) * (c1 - c0) for r0, c0, r1, c1 in boxes)
        self.submit(lambda document, do: call(ObjectTools(document, do)), size_px, name, done)

    def job(self) -> Job[Outcome] | None:
        """Make a job that computes the first change for the current document; None if there is none."""
        return _compute(self._items[0], *self._editor.fork()) if self._items else None

    def accept(self, outcome: Outcome) -> None:
        """Apply and save the result of `job`; if the document has changed meanwhile, the change stays in the queue."""
        change = outcome.change
        if not self._items or self._items[0] is not change:
            return  # The user has undone it.
        try:
            if outcome.error is not None:
                raise outcome.error
            if outcome.prepared is None or self._editor.take(outcome.prepared, below_prompts=True):
                self._end(change, outcome.result)
                return
            change.attempts -= 1
            if change.attempts:
                self.changed.emit()
            else:
                self._apply(change)
        except SampathError as error:
            self._fail(change, error)

    def fail(self, message: str) -> None:
        """Remove the first change, whose job ended with an unexpected error, and show a message."""
        if self._items:
            self._fail(self._items[0], SampathError(message))

    def finish(self) -> None:
        """Apply all changes now, before the session is closed."""
        while self._items:
            try:
                self._apply(self._items[0])
            except SampathError as error:
                self._fail(self._items[0], error)

    def undo(self) -> bool:
        """Remove the newest change; return False if there is none."""
        if not self._items:
            return False
        change = self._items.pop()
        self._undone.add(change)
        self._editor.message.emit(f"Undid {change.name}, which was still being computed.")
        self._editor.document_changed.emit((0, 0, *self._editor.document.hw))
        self.changed.emit()
        return True

    def redo(self) -> bool:
        """Repeat the change that `undo` removed last; return False if there is none."""
        change = self._undone.take()
        if change is None:
            return False
        self._items.append(change)
        self.changed.emit()
        return True

    def _apply(self, change: LargeChange) -> None:
        editor = self._editor
        result = change.run(editor.document, lambda operation: editor.announce(editor.save(operation, True)))
        self._end(change, result)

    def _end(self, change: LargeChange, result: object) -> None:
        self._items.remove(change)
        try:
            change.done(result)
        except SampathError as error:  # The change is made and saved all the same.
            self._editor.message.emit(str(error))
        self.changed.emit()

    def _fail(self, change: LargeChange, error: SampathError) -> None:
        self._items.remove(change)
        self._editor.message.emit(str(error))
        if change.failed is not None:
            change.failed(error)
        self.changed.emit()


def box_px(mask: LocalMask) -> int:
    """Return the number of pixels in the bounding box of a mask."""
    r0, c0, r1, c1 = bounds(mask)
    return (r1 - r0) * (c1 - c0)


def _compute(change: LargeChange, fork: Document, number: int) -> Job[Outcome]:
    yield Progress(0, 0, "Changing a large area")
    prepared: list[Prepared] = []

    def do(operation: Operation) -> None:
        prepared.append(prepare(fork, number, operation))

    try:
        result = change.run(fork, do)
    except SampathError as error:
        return Outcome(change, error=error)
    return Outcome(change, prepared[0] if prepared else None, result)
