"""The part of a session that needs no model: document, classes, brush, history and files."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from psygnal import Signal

from ..annotations import (
    Add,
    Annotation,
    ClassList,
    Delete,
    Document,
    Edits,
    Erase,
    Header,
    Journal,
    LookupMap,
    Operation,
    Patch,
    Reclassify,
    SetClasses,
    Source,
    TiledMap,
    mask_of_pixels,
    pixel_digest,
)
from ..annotations.classes import PALETTE
from ..arrays import ClassInfo, LocalMask, UInt8Array
from ..errors import ImageError
from ..jobs import Job, Progress, run
from .components import (
    Components,
    Segmentation,
    check_size,
    from_label_maps,
    from_segmentation,
    match_classes,
)
from .timeline import Timeline

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
    classes_changed = Signal()
    """The class list or the active class."""
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
        start = ClassList(classes or ()).snapshot or (FIRST_CLASS,)
        log = None
        if journal is not None:
            log = Journal(Path(journal), Header(name, self.hw, pixel_digest(image), start))
        self._edits = Edits(Document(self.hw, start), log)
        self._timeline = Timeline()
        self._active = 0
        self._keep_active()
        self.classes.redirect = _class_edits(weakref.ref(self))

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

    def paint(
        self, rows: npt.ArrayLike, cols: npt.ArrayLike, class_id: int, annotation_id: int | None = None
    ) -> Annotation | None:
        """Take one brush stroke.

        Args:
            rows: (N,) rows of its pixels; those outside the image are left out.
            cols: (N,) columns.
            class_id: Its class; 0 erases.
            annotation_id: An annotation to extend by the stroke, which then keeps its class; a new one is
                made if left out.

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
            self._do(Erase(mask))
            return None
        if annotation_id is None:
            annotation = Annotation(self.document.next_id, class_id, "brush")
        else:
            annotation = self.document.record(annotation_id)
        self._do(Add(((annotation, mask),)))
        return self.document.annotations[annotation.id]

    def delete(self, annotation_id: int) -> None:
        """Take an annotation away.

        Raises:
            UnknownNameError: If there is no such annotation.
            StorageError: If that cannot be saved; nothing has changed.
        """
        self._do(Delete((annotation_id,)))

    def reclassify(self, annotation_id: int, class_id: int) -> None:
        """Give an annotation another class.

        Raises:
            UnknownNameError: If there is no such annotation or class.
            StorageError: If that cannot be saved; nothing has changed.
        """
        self._do(Reclassify((annotation_id,), class_id))

    def add_segmentation(
        self,
        segmentation: Segmentation | Components,
        model: str | None = None,
        keep_existing: bool = False,
        min_area_px: int = 1,
    ) -> list[Annotation]:
        """Make annotations of a head's result, one for each connected piece of each class, as one step.

        Classes are matched by name; those that are missing are added.

        Args:
            segmentation: What a head found, or what `from_segmentation` made of it in a worker.
            model: Name to record in place of the head's own.
            keep_existing: Leave pixels alone that belong to annotations already.
            min_area_px: Smaller pieces are left out.

        Returns:
            The new annotations.

        Raises:
            ImageError: If it is not of the image's size.
            ClassListError: If more than 255 classes come together.
            StorageError: If it cannot be saved; nothing has changed.
        """
        if not isinstance(segmentation, Components):
            check_size(np.shape(segmentation.labels), self.hw, "The segmentation")
            segmentation = from_segmentation(segmentation, min_area_px)
        return self._add_components(segmentation, "head", model or segmentation.head, keep_existing)

    def import_labels(self, path: str | Path) -> list[Annotation]:
        """Read label maps from a file or folder that `export` wrote, as one step; what lies under is overwritten.

        Returns:
            The new annotations.

        Raises:
            SampathError: If the file cannot be read, or is not of the image's size.
            StorageError: If it cannot be saved; nothing has changed.
        """
        from ..formats import import_labels

        labels = import_labels(path, self.name)
        check_size(labels.class_map.shape, self.hw, f"The label map in '{path}'")
        components = from_label_maps(labels.class_map, labels.instance_map, labels.classes)
        return self._add_components(components, "import", None, False)

    def export(self, folder: str | Path, formats: Sequence[str] = ("png", "tiff")) -> list[Path]:
        """Write class and instance label maps; see `formats.export_labels`.

        Returns:
            The files.

        Raises:
            StorageError: If they cannot be written; earlier files are untouched.
        """
        return run(self.export_job(folder, formats))

    def export_job(self, folder: str | Path, formats: Sequence[str] = ("png", "tiff")) -> Job[list[Path]]:
        """Make a job that writes the annotations as they are now; see `export`."""
        maps = self.document.snapshot()
        return _export(Path(folder), self.name, maps, self.classes.snapshot, tuple(formats))

    def undo(self) -> bool:
        """Take the last change of the document back; False if there is none.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        step = self._edits.undo()
        if step is None:
            return False
        self._timeline.undo("document")
        self._announce(step.patch)
        self.message.emit(f"Undid {step.label}.")
        return True

    def redo(self) -> bool:
        """Make the change again that was taken back last; False if there is none.

        Raises:
            StorageError: If that cannot be saved; nothing has changed.
        """
        step = self._edits.redo() if self._timeline.can_redo_document else None
        if step is None:
            return False
        self._timeline.redo()
        self._announce(step.patch)
        self.message.emit(f"Redid {step.label}.")
        return True

    def _add_components(
        self, components: Components, source: Source, model: str | None, keep_existing: bool
    ) -> list[Annotation]:
        to_id, classes = match_classes(components, self.classes)
        items: list[tuple[Annotation, LocalMask]] = []
        for piece in components.pieces:
            mask = piece.mask
            if keep_existing:
                mask = LocalMask(
                    mask.row, mask.col, mask.bitmap & (self.document.instance_map[mask.slices] == 0)
                )
                if not mask.bitmap.any():
                    continue
            new_id = self.document.next_id + len(items)
            items.append((Annotation(new_id, to_id(piece.class_id), source, piece.score, model), mask))
        if not items:
            self.message.emit("Nothing was found, so nothing was added.")
            return []
        self._do(Add(tuple(items), classes if classes != self.classes.snapshot else None))
        made = (self.document.annotations.get(annotation.id) for annotation, _ in items)
        # One that later ones cover altogether is not there any more.
        return [annotation for annotation in made if annotation is not None]

    def _do(self, operation: Operation) -> None:
        patch = self._edits.do(operation)
        if not patch.empty:
            self._timeline.push("document")
            self._announce(patch)

    def _announce(self, patch: Patch) -> None:
        """Tell of a change that is on the disk."""
        if patch.classes is not None:
            self._keep_active()
            self.classes_changed.emit()
        if patch.box is not None:
            self.document_changed.emit(patch.box)

    def _keep_active(self) -> None:
        if self._active not in self.classes:
            self._active = next((info.id for info in self.classes), 0)


def _class_edits(owner: weakref.ref[Editor]) -> Callable[[tuple[ClassInfo, ...]], None]:
    """Send changes of a class list through its session; a weak link, so that a dropped session frees its journal."""

    def redirect(wished: tuple[ClassInfo, ...]) -> None:
        session = owner()
        if session is not None:
            session._do(SetClasses(wished))

    return redirect


def _export(
    folder: Path,
    name: str,
    maps: tuple[LookupMap, TiledMap],
    classes: tuple[ClassInfo, ...],
    formats: tuple[str, ...],
) -> Job[list[Path]]:
    from ..formats import export_labels

    yield Progress(0, 1, "Exporting label maps", "images")
    files = export_labels(folder, name, *maps, classes, formats)
    yield Progress(1, 1, "Exporting label maps", "images")
    return files
