"""Annotation session of one image: prompts, candidates, objects and undo history, without Qt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from ..annotations import (
    AnnotatedObject,
    ClassList,
    Document,
    Header,
    Journal,
    Operation,
    PromptStep,
    SetClasses,
    Step,
    mask_of_pixels,
)
from ..annotations.model.classes import FIRST_CLASS
from ..arrays import ClassInfo, LocalMask, UInt8Array
from ..errors import ImageError, SampathError
from ..images.slides import Slide
from .editor import Editor
from .files.session_files import SessionFiles
from .large_changes import LargeChanges, box_px
from .objects.class_tools import ClassTools
from .objects.object_tools import ObjectTools
from .objects.overlap import MaskMode, OverlapRule
from .objects.strokes import paint_mask
from .objects.verified_area import VerifiedArea
from .prompts.commit import make_commit, overlap_of
from .prompts.session_prompts import SessionPrompts
from .prompts.waiting_commits import CommitRules, WaitingCommits
from .proposals.proposals import Proposals

if TYPE_CHECKING:
    from ..predict import Model


class Session:
    """Annotation session of one image.

    Each commit, stroke, class edit, undo and redo is written to the journal before any signal is emitted, and a new
    session restores all of them from an existing journal. A change that cannot be saved is not applied and raises, so
    that the user can try again. Pending prompts are kept in memory only.

    Only the thread that owns a session may change it. The constructor reads all pixels and replays the journal, which
    takes seconds for a large image: call it in a worker thread, then pass the session to its owner.

    Args:
        image: (H, W, 3) uint8, which must not change while the session exists, or a slide, which must stay open.
        name: Name of the image, also used for exported files.
        model: Model that predicts masks for prompts; can be set later.
        classes: Initial classes; those of an existing journal take precedence.
        journal: Journal file, created if it does not exist (see `journal_path`); None saves nothing.

    Attributes:
        image: The image or slide; windows of both are read by slicing.
        slide: The slide; None for an image in memory.
        prompts: The pending prompt and its candidates.
        waiting: The commits whose masks are not ready yet; see `commit_when_ready`.
        large_changes: The changes that are computed in a worker thread; see `paint_when_ready`.
        objects: Edits and lists objects.
        class_tools: Merges and deletes classes together with their objects.
        area: The verified area.
        proposals: Adds the results of models.
        files: Import, export and training samples.
        overlap: What commits and strokes do with pixels of other objects.
        mask_mode: Whether commits and strokes become separate objects or parts of the region of their class.

    Raises:
        ImageError: If the image is not (H, W, 3) uint8.
        JournalError: If the journal is open in another session or belongs to another image.
        StorageError: If the journal cannot be created.
    """

    overlap_found = Signal(object)
    """`Overlap` of a commit with the rule "ask"; call `commit` again with the rule that the user chooses."""

    def __init__(
        self,
        image: UInt8Array | Slide,
        name: str,
        model: Model | None = None,
        classes: Iterable[ClassInfo] | None = None,
        journal: Path | None = None,
    ) -> None:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise ImageError(
                f"The image has shape {image.shape} and type {image.dtype}; "
                "give red, green and blue as (H, W, 3) uint8."
            )
        # A slide is sliced like an array.
        self.image = cast("UInt8Array", image)
        self.slide = image if isinstance(image, Slide) else None
        self.hw: tuple[int, int] = (image.shape[0], image.shape[1])
        start = ClassList(classes or ()).snapshot or (FIRST_CLASS,)
        log, digest = None, ""
        if journal is not None:
            header = Header.of(image, name, start)
            log, digest = Journal(Path(journal), header), header.digest
        self._editor = editor = Editor(self.hw, start, log)
        self.document_changed = editor.document_changed
        self.area_changed = editor.area_changed
        self.objects_changed = editor.objects_changed
        self.classes_changed = editor.classes_changed
        self.saved = editor.saved
        self.message = editor.message

        self.prompts = prompts = SessionPrompts(image, editor)
        self.prompts_changed = prompts.prompts_changed
        self.candidate_changed = prompts.candidate_changed
        self.large_changes = LargeChanges(editor)
        self.waiting = WaitingCommits(editor, prompts, self.large_changes)
        self.waiting.overlap_found.connect(self.overlap_found.emit)
        self.model = model

        self.objects = ObjectTools(self.document, editor.do)
        self.class_tools = ClassTools(self.document, editor.do)
        self.area = VerifiedArea(self.document, editor.do)
        self.proposals = Proposals(editor, lambda: prompts.tiles, self.slide)
        self.files = SessionFiles(image, name, editor, digest, lambda: prompts.tiles)
        self.overlap: OverlapRule = "overwrite"
        self.mask_mode: MaskMode = "instance"

    @property
    def name(self) -> str:
        """Current name of the image, also used for exported files."""
        return self.files.name

    @name.setter
    def name(self, name: str) -> None:
        self.files.name = name

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for the user about the journal, such as steps that could not be read."""
        return self._editor.notes

    def close(self) -> None:
        """Close the journal, so that another session can open it; nothing needs to be saved."""
        self._editor.close()

    @property
    def digest(self) -> str:
        """`pixel_digest` of the image, which identifies it in journals and projects independent of its name."""
        return self.files.digest

    @property
    def untouched(self) -> bool:
        """True if the annotations were never changed, also in earlier sessions."""
        return self._editor.untouched

    @property
    def model(self) -> Model | None:
        """Model that predicts masks for prompts."""
        return self.prompts.model

    @model.setter
    def model(self, model: Model | None) -> None:
        self.prompts.model = model

    @property
    def document(self) -> Document:
        """The objects and their maps; read-only, change it through the session."""
        return self._editor.document

    @property
    def classes(self) -> ClassList:
        """Class list; edits are saved and can be undone."""
        return self.document.classes

    @property
    def active_class(self) -> int:
        """Id of the class of new objects; 0 if there are no classes."""
        return self._editor.active_class

    @active_class.setter
    def active_class(self, class_id: int) -> None:
        self._editor.active_class = class_id

    def do(self, operation: Operation) -> None:
        """Perform and save an operation as one undo step; raises as `annotations.perform`, and then changes nothing."""
        self._editor.do(operation)

    def begin_with(self, classes: Iterable[ClassInfo]) -> None:
        """Set the initial classes; do nothing if there are objects or the class list was edited.

        Raises:
            StorageError: If the classes cannot be saved; nothing has changed.
        """
        wanted = tuple(classes)
        if wanted and not self.document.objects and self.classes.snapshot == (FIRST_CLASS,):
            self._editor.do(SetClasses(wanted))

    def paint(
        self,
        rows: npt.ArrayLike,
        cols: npt.ArrayLike,
        class_id: int,
        object_id: int | None = None,
        start_rc: tuple[int, int] | None = None,
    ) -> AnnotatedObject | None:
        """Add one brush stroke.

        The overlap rule "ask" overwrites here, because a question for each stroke would interrupt the user.

        Args:
            rows: (N,) rows of the pixels; pixels outside the image are ignored.
            cols: (N,) columns.
            class_id: Class of the stroke; 0 erases.
            object_id: The object to extend, which keeps its class. By default the stroke extends the object of its
                class on which it starts, or in semantic mode the region that it touches; if there is none, the stroke
                becomes a new object.
            start_rc: Pixel (row, col) where the stroke starts, if known.

        Returns:
            The new or extended object; None if the stroke erased or has no pixels in the image.

        Raises:
            UnknownNameError: If there is no such class or object.
            StorageError: If it cannot be saved; nothing has changed.
        """
        mask = mask_of_pixels(rows, cols, self.hw)
        return self.paint_mask(mask, class_id, object_id, start_rc)

    def paint_mask(
        self,
        mask: LocalMask,
        class_id: int,
        object_id: int | None = None,
        start_rc: tuple[int, int] | None = None,
    ) -> AnnotatedObject | None:
        """Add one brush stroke, given as a mask of any step; see `paint`."""
        do, rule, mode = self._editor.do, self.overlap, self.mask_mode
        return paint_mask(self.document, do, mask, class_id, object_id, start_rc, rule, mode)

    def paint_when_ready(
        self,
        mask: LocalMask,
        class_id: int,
        start_rc: tuple[int, int] | None = None,
        failed: Callable[[SampathError], object] | None = None,
    ) -> None:
        """Add one brush stroke; a large one is computed in a worker thread, see `LargeChanges`.

        With the arguments and errors of `paint`; `failed` receives errors of the worker thread.
        """
        rule, mode = self.overlap, self.mask_mode
        self.large_changes.submit(
            lambda document, do: paint_mask(document, do, mask, class_id, None, start_rc, rule, mode),
            box_px(mask),
            "the brush stroke" if class_id else "the erasure",
            failed=failed,
        )

    def commit(self, overlap: OverlapRule | None = None) -> AnnotatedObject | None:
        """Add the candidate as an object of the active class, or in semantic mode to the region that it touches.

        After `prompts.set_object`, the mask replaces the pixels of that object instead, and the object counts as
        reviewed. A prompt with several boxes adds one object per box, in one undo step; where their masks overlap, the
        first object gets the pixels.

        Args:
            overlap: Rule for pixels of other objects under the mask; the rule of the session by default. If there are
                such pixels, "ask" emits `overlap_found` and commits nothing: commit again with "overwrite" or "keep",
                or continue with the prompt.

        Returns:
            The object, or the first of several; None if `overlap_found` was emitted.

        Raises:
            PromptError: If there is no candidate, it is empty or older than the prompt, or all its pixels belong to
                objects that are kept.
            UnknownNameError: If there are no classes.
            StorageError: If it cannot be saved; the candidate is kept.
        """
        candidate, state = self.prompts.to_commit()
        rule = overlap or self.overlap
        if rule == "ask":
            covered = overlap_of(self.document, candidate, state, self.active_class, self.mask_mode)
            if covered is not None:
                self.overlap_found.emit(covered)
                return None
        model = None if self.model is None else self.model.name
        commit = make_commit(self.document, candidate, state, self.active_class, model, rule, self.mask_mode)
        patch = self._editor.save(commit.operation)
        self.prompts.clear()
        self._editor.announce(patch)
        if commit.remark:
            self.message.emit(commit.remark)
        return self.document.objects[commit.object_id]

    def commit_when_ready(self, overlap: OverlapRule | None = None, only_new: bool = False) -> None:
        """Close the pending prompt, and commit it when its mask is ready and all earlier commits are carried out.

        The class, the rules and the model are those selected when it is called. If the mask is ready and no commit is
        waiting, it does the same as `commit`, except that the next prompt can be begun while the user is asked about an
        overlap. Pass the answers of a worker to `waiting.accept`.

        Args:
            overlap: Rule for pixels of other objects under the mask; the rule of the session by default.
            only_new: Drop the mask if it equals an existing object of the class.

        Raises:
            PromptError: If there is no pending prompt.
            UnknownNameError: If there are no classes.
        """
        class_id = self.classes.by_id(self.active_class).id
        self.waiting.hold(CommitRules(class_id, overlap or self.overlap, self.mask_mode, only_new))

    @property
    def undoable(self) -> tuple[Step, ...]:
        """The saved steps that `undo` can revert, oldest first."""
        return self._editor.history.done

    def undo(self, only: Step | None = None) -> bool:
        """Undo the last change of the prompt or the document; return False if there is none, or if it is not `only`.

        A commit that waits for its mask is undone like one that was carried out.

        Raises:
            StorageError: If the undo cannot be saved; nothing has changed.
        """
        is_waiting = bool(self.waiting.items or len(self.large_changes))
        if only is not None and (is_waiting or only != self._editor.history.last):
            return False
        if isinstance(self._editor.history.last, PromptStep):
            return self.prompts.remove_last()
        waiting = self.prompts.state.empty and self.waiting.undo()
        return waiting or self.large_changes.undo() or self._editor.undo()

    def redo(self) -> bool:
        """Redo the step that was undone last; return False if there is none.

        Raises:
            StorageError: If the redo cannot be saved; nothing has changed.
        """
        if isinstance(self._editor.history.next, PromptStep):
            # Undo reverts the steps of the next prompt before the waiting commits, so redo repeats the commits first.
            return self.large_changes.redo() or self.waiting.redo() or self.prompts.redo()
        return self._editor.redo() or self.large_changes.redo() or self.waiting.redo()
