"""Import, export and training samples of a session."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...annotations import AnnotatedObject
from ...arrays import UInt8Array
from ...formats.dataset.manifest import DatasetImage
from ...jobs import Job, run
from ..change import Change
from ..editor import Editor
from ..proposals.new_objects import NewObjects
from ..proposals.plan import plan_import
from .saving import export_job, read_job, save_job


class SessionFiles:
    """Reads and writes the objects of a session in any format of `formats`.

    Args:
        image: (H, W, 3) uint8.
        name: Name of the image, also of exported files.
        editor: The document.
    """

    def __init__(self, image: UInt8Array, name: str, editor: Editor) -> None:
        self._image = image
        self._name = name
        self._editor = editor
        self.mpp: float | None = None
        """Micrometres per pixel, if known, for training samples."""

    def import_change(self, new: NewObjects) -> Change:
        """Make a change that adds the objects that `read_job` read; objects under them are overwritten."""
        return Change(self._editor, lambda document: plan_import(document, new))

    def import_labels(self, path: str | Path) -> list[AnnotatedObject]:
        """Read a file of any format of `formats` and add its objects, as one step; see `import_change`.

        Returns:
            The new objects.

        Raises:
            SampathError: If the file cannot be read, or it and the image differ in size.
            StorageError: If the change cannot be saved; nothing has changed.
        """
        return self.import_change(run(read_job(Path(path), self._name, self._editor.document.hw))).apply()

    def export(self, folder: str | Path, formats: Sequence[str] = ("png", "tiff")) -> list[Path]:
        """Export the objects in some of `formats.FORMATS`; see `formats.export_labels`.

        Returns:
            The files.

        Raises:
            StorageError: If a file cannot be written; earlier files are untouched.
        """
        return run(self.export_job(folder, formats))

    def export_job(self, folder: str | Path, formats: Sequence[str] = ("png", "tiff")) -> Job[list[Path]]:
        """Make a job that writes the objects as they are now; see `export`."""
        return export_job(Path(folder), self._name, self._editor.document, tuple(formats))

    def save_to_dataset(self, folder: str | Path, group: str = "", mpp: float | None = None) -> DatasetImage:
        """Save the image, its labels and its verified area as a training sample at once; see `save_job`."""
        return run(self.save_job(folder, group, mpp))

    def save_job(self, folder: str | Path, group: str = "", mpp: float | None = None) -> Job[DatasetImage]:
        """Make a job that saves the image as it is now into a `dataset.json` folder, which it creates if needed.

        A sample of the same pixels is replaced. If the name belongs to another image, this one gets a name such as
        "tile (2)".

        Args:
            folder: The dataset.
            group: Slide or case of the image; images of one group are never split.
            mpp: Micrometres per pixel; `mpp` of the session by default.

        Raises:
            DatasetError: If the folder is not a dataset, or the image is too large for a sample.
            StorageError: If the sample cannot be written; earlier files are untouched.
        """
        return save_job(Path(folder), self._image, self._name, self._editor.document, group, mpp or self.mpp)
