"""The part of a session that needs no model: document, classes, brush, history and files."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from ..annotations import (
    AnnotatedObject,
    Batch,
    ClassList,
    Document,
    Edits,
    Header,
    Journal,
    Operation,
    Patch,
    Prepared,
    SetClasses,
    mask_of_pixels,
    pixel_digest,
)
from ..annotations.model.classes import PALETTE
from ..arrays import ClassInfo, LocalMask, UInt8Array
from ..errors import ImageError
from .objects.class_tools import ClassTools
from .objects.object_tools import ObjectTools
from .objects.overlap import MaskMode, OverlapRule, extend, place
from .objects.reshaping import rubbed_out
from .objects.verified_area import VerifiedArea

FIRST_CLASS = ClassInfo(1, "object", PALETTE[0])
"""What a session without classes begins with, so that the first click can be committed."""


def journal_path(image: UInt8Array, folder: Path) -> Path:
    """Return the place of an image's journal: named by its pixels, so that a renamed file finds its annotations.

    Args:
        image: (H, W, 3) uint8.
        folder: Folder of the journals, `Config.sessions_dir`.
    """
    return folder / f"{pixel_digest(image)[:32]}.jsonl"


class Editor:
    """The annotations of one image, saved as they are made; see `Session`."""

    document_changed = Signal(object)
    """Box (r0, c0, r1, c1) around all pixels that changed."""
    area_changed = Signal(object)
    """Box (r0, c0, r1, c1) around all pixels that became annotated or ceased to be."""
    objects_changed = Signal(object)
    """Ids of the annotations that came, changed in any way, or went."""
    classes_changed = Signal()
    """The class list or the active class."""
    saved = Signal()
    """A step was saved, made, taken back or made again: pixels, objects, areas marked as annotated, or classes."""
    message = Signal(str)
    """A sentence for the user."""

    def __init__(
        self, image: UInt8Array, name: str, classes: Iterable[ClassInfo] | None, journal: Path | None
    ) -> None:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ImageError(
                f"The image has shape {image.shape} and type {image.dtype}; "
                "give red, green and blue as (H, W, 3) uint8."
            )
        self.image = image
        self.name = name
        self.hw: tuple[int, int] = (image.shape[0], image.shape[1])
        self.mpp: float | None = None
        """Micrometres per pixel, if known; training samples get it."""
        start = ClassList(classes or ()).snapshot or (FIRST_CLASS,)
        log = None
        if journal is not None:
            log = Journal(Path(journal), Header(name, self.hw, pixel_digest(image), start))
        self._edits = Edits(Document(self.hw, start), log)
        self.overlap: OverlapRule = "overwrite"
        """What commits and strokes do to objects under them."""
        self.mask_mode: MaskMode = "instance"
        """Whether commits and strokes are objects of their own, or part of the region of their class."""
        do = _weakly(weakref.ref(self))
        self.objects = ObjectTools(self.document, do)
        """Split, merge, reshape, tick off, list objects."""
        self.class_tools = ClassTools(self.document, do)
        """Merge and delete classes with their objects."""
        self.area = VerifiedArea(self.document, do)
        """The verified area."""
        self._active = 0
        self._keep_active()
        self.classes.redirect = lambda wished: do(SetClasses(wished))

    def close(self) -> None:
        """Let go of the journal, so that another session may open it; nothing needs to be saved."""
        if self._edits.journal is not None:
            self._edits.journal.close()

    @property
    def document(self) -> Document:
        """The annotations; read it, and change it through the session only."""
        return self._edits.document

    @property
    def classes(self) -> ClassList:
        """The classes; edits of the list are saved and can be undone like everything else."""
        return self.document.classes

    @property
    def active_class(self) -> int:
        """Id of the class that commits get; 0 if there are no classes."""
        return self._active

    @active_class.setter
    def active_class(self, class_id: int) -> None:
        self._active = self.classes.by_id(class_id).id

    def begin_with(self, classes: Iterable[ClassInfo]) -> None:
        """Take over a list of classes, unless something is annotated already or somebody edited the list.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        wished = tuple(classes)
        if wished and not self.document.objects and self.classes.snapshot == (FIRST_CLASS,):
            self._do(SetClasses(wished))

    def paint(
        self,
        rows: npt.ArrayLike,
        cols: npt.ArrayLike,
        class_id: int,
        object_id: int | None = None,
        start_rc: tuple[int, int] | None = None,
    ) -> AnnotatedObject | None:
        """Take one brush stroke.

        Args:
            rows: (N,) rows of its pixels; those outside the image are left out.
            cols: (N,) columns.
            class_id: Its class; 0 erases.
            object_id: An annotation to extend by the stroke, which then keeps its class; if left out, the one
                of the class that the stroke begins on is extended, in semantic mode the region that it touches, and
                a new one is made if there is none. "ask" overwrites here: a question at every stroke would be in
                the way.
            start_rc: Pixel (row, col) where the stroke begins, if that is known.

        Returns:
            The annotation; None if it erased, or there was nothing to paint.

        Raises:
            UnknownNameError: If there is no such class or annotation.
            StorageError: If it cannot be saved; nothing has changed.
        """
        mask = mask_of_pixels(rows, cols, self.hw)
        if not mask.bitmap.any():
            return None
        if class_id == 0:
            self._erase(mask)
            return None
        if object_id is None and start_rc is not None and self.mask_mode == "instance":
            object_id = self._begun_on(class_id, *start_rc)
        operation: Operation
        if object_id is None:
            annotation = AnnotatedObject(self.document.next_id, class_id, "brush")
            operation, object_id = place(self.document, annotation, mask, self.overlap, self.mask_mode)
        else:
            operation = extend(self.document, object_id, mask, self.overlap)
        self._do(operation)
        return self.document.objects[object_id]

    def _begun_on(self, class_id: int, row: int, col: int) -> int | None:
        """Return the id of the object of a class at a pixel, if there is one."""
        found = self.document.objects.get(self.objects.at(row, col))
        return found.id if found is not None and found.class_id == class_id else None

    def _erase(self, mask: LocalMask) -> None:
        """Erase pixels from their objects and mark them as verified background."""
        held = mask.bitmap & (self.document.instance_map[mask.slices] > 0)
        if held.any():
            mask = LocalMask(mask.row, mask.col, held)
            self._do(Batch(rubbed_out(mask), "the erasing"))

    def delete(self, object_id: int) -> None:
        """Delete an object and mark its pixels as verified background.

        Raises:
            UnknownNameError: If there is no such annotation.
            StorageError: If that cannot be saved; nothing has changed.
        """
        self.objects.delete((object_id,))

    def reclassify(self, object_id: int, class_id: int) -> None:
        """Give an annotation another class.

        Raises:
            UnknownNameError: If there is no such annotation or class.
            StorageError: If that cannot be saved; nothing has changed.
        """
        self.objects.reclassify((object_id,), class_id)

    def undo(self) -> bool:
        """Take the last change of the document back; False if there is none.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        step = self._edits.undo()
        if step is None:
            return False
        self._announce(step.patch)
        self.message.emit(f"Undid {step.label}.")
        return True

    def redo(self) -> bool:
        """Make the change again that was taken back last; False if there is none.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        step = self._edits.redo()
        if step is None:
            return False
        self._announce(step.patch)
        self.message.emit(f"Redid {step.label}.")
        return True

    def _do(self, operation: Operation) -> None:
        patch = self._edits.do(operation)
        if not patch.empty:
            self._announce(patch)

    def _take(self, prepared: Prepared) -> bool:
        """As `_do`, for what was worked out in a thread; False if something else has happened since."""
        if not self._edits.take(prepared):
            return False
        if not prepared.patch.empty:
            self._announce(prepared.patch)
        return True

    def _announce(self, patch: Patch) -> None:
        """Tell of a change that is on the disk."""
        if patch.classes is not None:
            self._keep_active()
            self.classes_changed.emit()
        if patch.records:
            self.objects_changed.emit(frozenset(patch.records))
        if patch.box is not None:
            self.document_changed.emit(patch.box)
        if patch.verified_box is not None:
            self.area_changed.emit(patch.verified_box)
        if not patch.empty:
            self.saved.emit()

    def _keep_active(self) -> None:
        if self._active not in self.classes:
            self._active = next((info.id for info in self.classes), 0)


def _weakly(owner: weakref.ref[Editor]) -> Callable[[Operation], None]:
    """Send operations through a session; a weak link, so that a dropped session frees its journal."""

    def do(operation: Operation) -> None:
        session = owner()
        if session is not None:
            session._do(operation)

    return do
