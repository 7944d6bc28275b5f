"""Document of one image with its undo history, its journal and the signals of its changes."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterable

from psygnal import Signal

from ..annotations import (
    ClassList,
    Document,
    Edits,
    History,
    Journal,
    Operation,
    Patch,
    Prepared,
    SetClasses,
)
from ..annotations.masks.tiles import forget_unpacked
from ..arrays import ClassInfo
from ..config import load_config
from .journals import other_journals

logger = logging.getLogger(__name__)


class Editor:
    """A document that is saved after every change, shared by the parts of a session.

    Args:
        hw: Size (H, W) of the image in pixels.
        classes: Initial classes; those of an existing journal take precedence.
        journal: Journal to replay and continue; None keeps everything in memory only.
    """

    document_changed = Signal(object)
    """Box (r0, c0, r1, c1) around all changed pixels."""
    area_changed = Signal(object)
    """Box (r0, c0, r1, c1) around all pixels that became verified or unverified."""
    objects_changed = Signal(object)
    """Ids of the added, changed and deleted objects."""
    classes_changed = Signal()
    """The class list or the active class changed."""
    saved = Signal()
    """Emitted after a change, an undo or a redo was saved."""
    message = Signal(str)
    """Message for the user, one sentence."""

    def __init__(self, hw: tuple[int, int], classes: Iterable[ClassInfo], journal: Journal | None) -> None:
        self._edits = Edits(Document(hw, classes), journal)
        self.document.reader = load_config().reader
        self.notes = () if journal is None else (*journal.notes, *other_journals(journal.path))
        """Sentences for the user about the journal."""
        self._active = 0
        self._keep_active()
        # A weak reference, so that the journal is closed as soon as the session is deleted.
        this = weakref.ref(self)

        def set_classes(wanted: tuple[ClassInfo, ...]) -> None:
            editor = this()
            if editor is not None:
                editor.do(SetClasses(wanted))

        def say(text: str) -> None:
            editor = this()
            logger.warning("%s", text)
            if editor is not None:
                editor.message.emit(text)

        self.classes.redirect = set_classes
        if journal is not None:
            journal.notice = say

    def close(self) -> None:
        """Close the journal."""
        forget_unpacked()
        if self._edits.journal is not None:
            self._edits.journal.close()

    @property
    def document(self) -> Document:
        """The document; read-only, change it with `do` and `take`."""
        return self._edits.document

    @property
    def classes(self) -> ClassList:
        """Class list of the document; its methods save each edit as an undo step."""
        return self.document.classes

    @property
    def history(self) -> History:
        """The undo history."""
        return self._edits.history

    @property
    def untouched(self) -> bool:
        """True if no step was ever made, also in earlier sessions."""
        return self._edits.number == 0

    @property
    def active_class(self) -> int:
        """Id of the class of new objects; 0 if there are no classes."""
        return self._active

    @active_class.setter
    def active_class(self, class_id: int) -> None:
        self._active = self.classes.by_id(class_id).id

    def do(self, operation: Operation) -> None:
        """Perform and save an operation as one undo step, and emit its signals.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
            SampathError: As `annotations.perform`; nothing has changed.
        """
        self.announce(self.save(operation))

    def save(self, operation: Operation, below_prompts: bool = False) -> Patch:
        """Perform and save an operation without emitting signals; pass the result to `announce`.

        With `below_prompts`, the steps of the pending prompt are undone before it; see `History.push`.
        """
        return self._edits.do(operation, below_prompts)

    def fork(self) -> tuple[Document, int]:
        """Return a fork of the document for another thread and its step number, the first arguments of `prepare`."""
        return self.document.fork(), self._edits.number

    def take(self, prepared: Prepared, below_prompts: bool = False) -> bool:
        """Save an operation that was performed on a fork, and apply its result; for `below_prompts` see `save`.

        Returns:
            True if the result was applied; False, without any effect, if the document has changed since the fork.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
        """
        taken = self._edits.take(prepared, below_prompts)
        if taken:
            self.announce(prepared.patch)
        return taken

    def undo(self) -> bool:
        """Undo the last step; return False if there is none, or if it is a prompt step.

        Raises:
            StorageError: If the undo cannot be saved; nothing has changed.
        """
        step = self._edits.undo()
        if step is not None:
            self.announce(step.patch)
            self.message.emit(f"Undid {step.label}.")
        return step is not None

    def redo(self) -> bool:
        """Redo the step that was undone last; return False if there is none, or if it is a prompt step.

        Raises:
            StorageError: If the redo cannot be saved; nothing has changed.
        """
        step = self._edits.redo()
        if step is not None:
            self.announce(step.patch)
            self.message.emit(f"Redid {step.label}.")
        return step is not None

    def announce(self, patch: Patch) -> None:
        """Emit the signals of a saved change."""
        if patch.empty:
            return
        if patch.classes is not None:
            self._keep_active()
            self.classes_changed.emit()
        if patch.before:
            self.objects_changed.emit(frozenset(patch.before))
        for signal, box in ((self.document_changed, patch.box), (self.area_changed, patch.verified_box)):
            if box is not None:
                signal.emit(box)
        self.saved.emit()
        if note := self.document.tile_store.take_note():
            self.message.emit(note)

    def _keep_active(self) -> None:
        if self._active not in self.classes:
            self._active = next((info.id for info in self.classes), 0)
