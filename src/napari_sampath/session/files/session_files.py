"""Import, export and training samples of a session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy.typing as npt

from ...annotations import AnnotatedObject, pixel_digest
from ...annotations.model.classes import next_color
from ...arrays import ClassInfo, FloatArray, UInt8Array
from ...errors import DatasetError
from ...formats import ReadOptions
from ...formats.dataset.manifest import DatasetImage
from ...images.slides import Slide
from ...jobs import Job, run
from ..change import Change
from ..editor import Editor
from ..prompts.tile_cache import TileFeatures
from ..proposals.adopting import ValuesAre, from_label_map, from_outlines
from ..proposals.new_objects import NewObjects
from ..proposals.plan import plan_import
from .importing import notes_of, read_job
from .saving import ExportedImage, export_job, save_job

if TYPE_CHECKING:
    from ..proposals.slide_objects import UntouchedObjects


class SessionFiles:
    """Imports and exports the objects of a session in the formats of `formats`.

    Args:
        image: (H, W, 3) uint8, or a slide.
        name: Name of the image, also used for exported files.
        editor: The editor of the session.
        digest: `annotations.pixel_digest` of the image; computed when it is needed if empty.
        tiles: Returns the encoded tiles of the image, for points that are prompts; None without a model.
    """

    def __init__(
        self,
        image: UInt8Array | Slide,
        name: str,
        editor: Editor,
        digest: str = "",
        tiles: Callable[[], TileFeatures | None] = lambda: None,
    ) -> None:
        self._image = image
        self._digest = digest
        self._tiles = tiles
        self.name = name
        self._editor = editor
        self.mpp: float | None = image.mpp if isinstance(image, Slide) else None
        """Micrometres per pixel, for training samples; None if unknown."""
        self.orientation = 1
        """`LoadedImage.orientation`, with which label maps of the stored image are turned."""
        self.file_name = ""
        """Name of the image file with its ending, for exported files; empty if unknown."""

    @property
    def digest(self) -> str:
        """Digest of the pixels of the image, which distinguishes images of the same name."""
        self._digest = self._digest or pixel_digest(self._image)
        return self._digest

    def use_mpp(self, mpp: float | None) -> None:
        """Set the micrometres per pixel, at which heads run on a slide, too; None if unknown."""
        self.mpp = mpp
        if isinstance(self._image, Slide):
            self._image.mpp = mpp

    def import_change(self, new: NewObjects) -> Change:
        """Return the change that adds the objects from `read_job`; they overwrite existing objects."""
        return Change(self._editor, lambda document: plan_import(document, new))

    def read_job(self, path: str | Path, options: ReadOptions | None = None) -> Job[NewObjects]:
        """Make a job that reads the objects of a file in any format of `formats`; see `importing.read_job`."""
        options = options or ReadOptions()
        turn = options.orientation if options.orientation > 1 else self.orientation
        options = replace(options, digest=self.digest, orientation=turn)
        return read_job(Path(path), self.name, self._editor.document.hw, options, self._tiles())

    def import_notes(self, new: NewObjects) -> tuple[str, ...]:
        """Return sentences about what was read, renumbered and overwritten; call it before the change is applied."""
        return notes_of(self._editor.document, new)

    def import_labels(
        self, path: str | Path, options: ReadOptions | None = None, notes: list[str] | None = None
    ) -> list[AnnotatedObject]:
        """Read a file in any format of `formats` and add its objects as one undo step; see `import_change`.

        Args:
            path: The file or folder.
            options: Choices where the file can be read in several ways.
            notes: Extended by the sentences of `import_notes`.

        Returns:
            The new objects.

        Raises:
            ImportChoiceError: If the file can be read in several ways, and `options` does not specify which one is
                meant.
            SampathError: If the file cannot be read or does not have the size of the image.
            StorageError: If the change cannot be saved; nothing has changed.
        """
        new = run(self.read_job(path, options))
        return self._add(new, notes)

    def adopt_labels(
        self,
        labels: npt.ArrayLike,
        class_name: str,
        to_labels: FloatArray | None = None,
        values: ValuesAre = "auto",
        notes: list[str] | None = None,
    ) -> list[AnnotatedObject]:
        """Add the objects of a label map, such as that of a napari Labels layer, as one undo step.

        They overwrite existing objects.

        Args:
            labels: (h, w) integers or bool, 0 for the background.
            class_name: Class of the objects; added if it does not exist.
            to_labels: (2, 3) matrix from (row, col, 1) of the image to (row, col) of the label map; None if both have
                the same pixels.
            values: "objects" if each value is an object, "class" if each connected component is one, "auto" to decide
                by the number of values.
            notes: Extended by sentences about what was resampled, left out and overwritten.

        Raises:
            ImageError: If the map does not have the size of the image, or has no objects.
            StorageError: If the change cannot be saved; nothing has changed.
        """
        new = from_label_map(
            labels, self._editor.document.hw, self.class_of(class_name), "The label map", to_labels, values
        )
        return self._add(new, notes)

    def adopt_outlines(
        self, outlines: Iterable[npt.ArrayLike], class_name: str, notes: list[str] | None = None
    ) -> list[AnnotatedObject]:
        """Add closed outlines, such as those of a napari Shapes layer, as one undo step.

        Args:
            outlines: Rings (N, 2) of (row, col) in image pixels, where whole numbers are centres of pixels.
            class_name: Class of the objects; added if it does not exist.
            notes: Extended by sentences about what was left out and overwritten.

        Raises:
            ImageError: If no outline covers a pixel of the image.
            StorageError: If the change cannot be saved; nothing has changed.
        """
        new = from_outlines(outlines, self._editor.document.hw, self.class_of(class_name), "The list")
        return self._add(new, notes)

    def class_of(self, name: str) -> ClassInfo:
        """Return the class with a name, or a new one that is not in the class list yet."""
        classes = self._editor.classes
        present = classes.find(name)
        if present is not None:
            return present
        used = {info.id for info in classes}
        return ClassInfo(
            min(set(range(1, 256)) - used, default=255), name, next_color([info.color for info in classes])
        )

    def _add(self, new: NewObjects, notes: list[str] | None) -> list[AnnotatedObject]:
        said = self.import_notes(new)
        added = self.import_change(new).apply()
        if notes is not None:
            notes.extend(said)
        return added

    def export(
        self,
        folder: str | Path,
        formats: Sequence[str] = ("png", "tiff"),
        notes: list[str] | None = None,
    ) -> list[Path]:
        """Export the objects in the given `formats.FORMATS`; see `formats.export_labels`.

        Returns:
            Paths of the files.

        Raises:
            StorageError: If a file cannot be written; existing files do not change.
        """
        return run(self.export_job(folder, formats, notes))

    def export_job(
        self,
        folder: str | Path,
        formats: Sequence[str] = ("png", "tiff"),
        notes: list[str] | None = None,
        untouched: UntouchedObjects | None = None,
    ) -> Job[list[Path]]:
        """Make a job that exports the current objects, see `export`, and the untouched objects of a slide's result."""
        pixels = None if isinstance(self._image, Slide) else self._image
        image = ExportedImage(self.name, self.file_name, pixels, self.digest, self.mpp)
        if untouched is None:
            return export_job(Path(folder), image, self._editor.document, tuple(formats), notes)
        merged = self._editor.document.fork()

        def both() -> Job[list[Path]]:
            yield from untouched.add_to_job(merged)
            return (yield from export_job(Path(folder), image, merged, tuple(formats), notes))

        return both()

    def save_to_dataset(self, folder: str | Path, group: str = "", mpp: float | None = None) -> DatasetImage:
        """Save the image, its labels and its verified area as a training sample; see `save_job`."""
        return run(self.save_job(folder, group, mpp))

    def save_job(self, folder: str | Path, group: str = "", mpp: float | None = None) -> Job[DatasetImage]:
        """Make a job that saves the current image and labels in a dataset folder, which it creates if needed.

        An existing sample of the same pixels is replaced. If another image in the dataset has the same name, the sample
        gets a name such as "tile (2)".

        Args:
            folder: Folder of the dataset.
            group: Slide or case of the image; all images of a group belong to the same split.
            mpp: Micrometres per pixel; `self.mpp` by default.

        Raises:
            DatasetError: If the folder is not a dataset, or the image is too large for a sample.
            StorageError: If the sample cannot be written; existing files do not change.
        """
        document = self._editor.document
        mpp = mpp or self.mpp
        if isinstance(self._image, Slide):
            raise DatasetError(
                f"'{self.name}' is a slide of {document.hw[1]} x {document.hw[0]} px (width x height), and a training "
                "sample is an image in memory; save a region of it as an image."
            )
        return save_job(Path(folder), self._image, self.name, document, group, mpp, self.digest)
