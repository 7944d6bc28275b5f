"""The document of one image with its undo stack, its journal and the signals that follow each change."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from pathlib import Path

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
    pixel_digest,
)
from ..arrays import ClassInfo, UInt8Array


def journal_path(image: UInt8Array, folder: Path) -> Path:
    """Return the path of an image's journal; its name depends on the pixels, so renamed files keep their objects.

    Args:
        image: (H, W, 3) uint8.
        folder: Folder of the journals, `Config.sessions_dir`.
    """
    return folder / f"{pixel_digest(image)[:32]}.jsonl"


class Editor:
    """A document that is saved after every change, shared by the parts of a session.

    Args:
        hw: Size (H, W) of the image in pixels.
        classes: Initial classes; an existing journal brings its own.
        journal: The journal, which is replayed; None keeps everything in memory only.
    """

    document_changed = Signal(object)
    """Box (r0, c0, r1, c1) around all pixels that changed."""
    area_changed = Signal(object)
    """Box (r0, c0, r1, c1) around all pixels whose verification changed."""
    objects_changed = Signal(object)
    """Ids of the objects that were added, changed or deleted."""
    classes_changed = Signal()
    """The class list or the active class changed."""
    saved = Signal()
    """A change, an undo or a redo was saved."""
    message = Signal(str)
    """A sentence for the user."""

    def __init__(self, hw: tuple[int, int], classes: Iterable[ClassInfo], journal: Journal | None) -> None:
        self._edits = Edits(Document(hw, classes), journal)
        self._active = 0
        self._keep_active()
        # Weak, so that a dropped session frees its journal at once.
        this = weakref.ref(self)

        def set_classes(wanted: tuple[ClassInfo, ...]) -> None:
            editor = this()
            if editor is not None:
                editor.do(SetClasses(wanted))

        self.classes.redirect = set_classes

    def close(self) -> None:
        """Close the journal."""
        if self._edits.journal is not None:
            self._edits.journal.close()

    @property
    def document(self) -> Document:
        """The document; read it, and change it with `do` and `take`."""
        return self._edits.document

    @property
    def classes(self) -> ClassList:
        """The classes of the document; its methods change it with `do`."""
        return self.document.classes

    @property
    def history(self) -> History:
        """The undo stack."""
        return self._edits.history

    @property
    def active_class(self) -> int:
        """Id of the class of new objects; 0 if there are no classes."""
        return self._active

    @active_class.setter
    def active_class(self, class_id: int) -> None:
        self._active = self.classes.by_id(class_id).id

    def do(self, operation: Operation) -> None:
        """Do and save an operation as one step of undo, and emit its signals.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
            SampathError: As `annotations.perform`; nothing has changed.
        """
        self.announce(self.save(operation))

    def save(self, operation: Operation) -> Patch:
        """Do and save an operation without signals; call `announce` with the result."""
        return self._edits.do(operation)

    def fork(self) -> tuple[Document, int]:
        """Return a copy of the document for another thread, and the number for `prepare`."""
        return self.document.fork(), self._edits.number

    def take(self, prepared: Prepared) -> bool:
        """Save an operation that was done to a fork and switch to its result.

        Returns:
            False if the document has changed since it was forked; nothing has changed then.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
        """
        taken = self._edits.take(prepared)
        if taken:
            self.announce(prepared.patch)
        return taken

    def undo(self) -> bool:
        """Undo the last step; return False if there is none, or if it is a prompt step.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        step = self._edits.undo()
        if step is not None:
            self.announce(step.patch)
            self.message.emit(f"Undid {step.label}.")
        return step is not None

    def redo(self) -> bool:
        """Redo the step that was undone last; return False if there is none, or if it is a prompt step.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        step = self._edits.redo()
        if step is not None:
            self.announce(step.patch)
            self.message.emit(f"Redid {step.label}.")
        return step is not None

    def announce(self, patch: Patch) -> None:
        """Emit the signals of a change that is saved."""
        if patch.empty:
            return
        if patch.classes is not None:
            self._keep_active()
            self.classes_changed.emit()
        if patch.records:
            self.objects_changed.emit(frozenset(patch.records))
        if patch.box is not None:
            self.document_changed.emit(patch.box)
        if patch.verified_box is not None:
            self.area_changed.emit(patch.verified_box)
        self.saved.emit()

    def _keep_active(self) -> None:
        if self._active not in self.classes:
            self._active = next((info.id for info in self.classes), 0)
