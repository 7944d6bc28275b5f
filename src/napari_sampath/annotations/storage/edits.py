"""Keep a document, its undo history and its journal in sync."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import Annotated, Any

from ...errors import SampathError, StorageError
from ...files import convert
from ...files.json_reader import Range
from ..model.annotated_object import MAX_ID
from ..model.document import Document
from ..model.object_file import Item, ObjectFile, read_objects
from ..model.operations import Operation, label, operation_from_json, operation_to_json, signature
from ..model.patch import Patch
from ..model.prepared import Prepared
from ..model.recorder import perform
from .compaction import compact, restore
from .history import History, Step
from .journal import Journal

logger = logging.getLogger(__name__)

_UNUSABLE = (
    SampathError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RecursionError,
)


class Edits:
    """Applies operations to a document and saves them.

    When `do`, `undo` or `redo` returns, the journal contains the operation; if it cannot be saved, the document does
    not change. The undo history is restored from the journal, so that undo works after a crash.

    Args:
        document: The document; must be empty if there is a journal.
        journal: Journal to replay and continue; None keeps everything in memory only.
    """

    def __init__(self, document: Document, journal: Journal | None = None) -> None:
        self.document = document
        self.journal = journal
        self.skipped = 0
        """Number of steps of the journal that could not be replayed."""
        self._number = 0
        self._is_missing_files = False
        if journal is None:
            self.history = History()
        else:
            document.tile_store.folder, document.journal = journal.path.parent, journal.path
            self.history = History(journal.header.max_steps, journal.header.max_bytes)
            document.classes.restore(journal.header.classes)
            for record in journal.records:
                self._replay(record)
                self._number = record["seq"]
            # Compact here, because sessions are opened in a worker thread, where the user does not wait.
            if not self._is_missing_files:
                compact(document, self.history, journal)
            journal.records.clear()
            self.document.reader = ""
            if self.skipped:
                count = f"{self.skipped} step{'s' * (self.skipped > 1)}"
                journal.notes.append(
                    f"{count} of the journal '{journal.path}' cannot be repeated; check the objects."
                )
            if note := document.tile_store.take_note():
                journal.notes.append(note)

    def do(self, operation: Operation, below_prompts: bool = False) -> Patch:
        """Perform and save one operation as one undo step; for `below_prompts` see `History.push`.

        Returns:
            The changes; if there are none, no step is recorded.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
            SampathError: As `perform`; nothing has changed.
        """
        patch = perform(self.document, operation)
        if patch.empty:
            return patch
        try:
            number = self._save({**operation_to_json(operation), **signature(self.document)})
        except BaseException:
            self.document.revert(patch)
            raise
        self.history.push(Step(number, patch, label(operation)), below_prompts)
        return patch

    @property
    def number(self) -> int:
        """Number of the last operation, undo or redo; see `Prepared.follows`."""
        return self._number

    def take(self, prepared: Prepared, below_prompts: bool = False) -> bool:
        """Save an operation that was performed on a fork of the document, as one undo step.

        For `below_prompts` see `History.push`.

        Returns:
            True if the result was applied; False, without any effect, if the document has changed since the fork.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
        """
        if prepared.follows != self._number:
            for file in prepared.files:
                with contextlib.suppress(OSError):
                    file.unlink()
            return False
        if not prepared.patch.empty:
            number = self._save(prepared.record)
            self.document.become(prepared.after)
            self.history.push(Step(number, prepared.patch, prepared.label), below_prompts)
        return True

    def undo(self) -> Step | None:
        """Undo the last step.

        Returns:
            The undone step; None if there is none, or if the last step is a prompt step.

        Raises:
            StorageError: If the undo cannot be saved; nothing has changed.
        """
        step = self.history.last
        if not isinstance(step, Step):
            return None
        self._save({"op": "undo", "of": step.number})
        self._undo(step)
        return step

    def redo(self) -> Step | None:
        """Redo the step that was undone last.

        Returns:
            The redone step; None if there is none, or if the next step is a prompt step.

        Raises:
            StorageError: If the redo cannot be saved; nothing has changed.
        """
        step = self.history.next
        if not isinstance(step, Step):
            return None
        self._save({"op": "redo", "of": step.number})
        self._redo(step)
        return step

    def _undo(self, step: Step) -> None:
        self.document.revert(step.patch)
        self.history.undo()

    def _redo(self, step: Step) -> None:
        self.document.reapply(step.patch)
        self.history.redo()

    def _save(self, record: dict[str, Any] | str) -> int:
        self._number = self._number + 1 if self.journal is None else self.journal.append(record)
        return self._number

    def _replay(self, record: dict[str, Any]) -> None:
        """Replay a record; skip it if it fails, so that the other records are kept."""
        number = record["seq"]
        try:
            match record.get("op"):
                case "undo" | "redo":
                    self._replay_step(record)
                case "snapshot":
                    restore(self.document, record)
                case "reserve":
                    next_id = convert(record.get("next_id"), Annotated[int, Range(1, MAX_ID)], "next_id")
                    self.document.next_id = max(self.document.next_id, next_id)
                case _:
                    operation = operation_from_json(record, self.document.hw, self._read)
                    self.document.reader = convert(record.get("by", ""), str, "by")
                    self.history.push(Step(number, perform(self.document, operation), label(operation)))
        except _UNUSABLE as error:
            # Happens only if a damaged line in the middle of the journal was skipped and later steps depend on it, or
            # if another program wrote the line.
            self.skipped += 1
            logger.warning("Step %d of the journal cannot be replayed: %s", number, error)

    def _read(self, file: ObjectFile) -> Sequence[Item]:
        """Read a file of objects; return none if it cannot be read, so that the step can still be undone and redone."""
        if self.journal is None:
            raise ValueError("there is no journal")
        try:
            return read_objects(self.journal.path.parent, file, self.document.hw)
        except StorageError as error:
            self._is_missing_files = True
            self.document.next_id = max(self.document.next_id, file.next_id)
            self.journal.notes.append(str(error))
            return ()

    def _replay_step(self, record: dict[str, Any]) -> None:
        undo = record["op"] == "undo"
        step = self.history.last if undo else self.history.next
        if not isinstance(step, Step) or step.number != record.get("of"):
            raise ValueError(f"step {record.get('of')} is not the next step to {record['op']}")
        if undo:
            self._undo(step)
        else:
            self._redo(step)
