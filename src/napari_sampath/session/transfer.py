"""What comes into a session as a whole, and goes out of it: results of heads, label files, training samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..annotations import AnnotatedObject, Document, Operation, Prepared, prepare
from ..jobs import Job, Progress, run
from .editor import Editor
from .files.saving import export_job, read_job, save_job
from .files.stage import Stage
from .proposals.components import Components, Segmentation, check_size, from_segmentation
from .proposals.plan import plan_addition, plan_import, plan_proposal
from .proposals.result_filter import ResultFilter

if TYPE_CHECKING:
    from ..formats.dataset.manifest import DatasetImage


NOTHING = "Nothing was found, so nothing was added."


class Transfer(Editor):
    """An `Editor` that takes in and gives out whole label maps; see `Session`."""

    stage: Stage = "assisted"
    """Whether heads propose on this image, see `stages`."""

    def add_segmentation(
        self,
        segmentation: Segmentation | Components,
        model: str | None = None,
        keep_existing: bool = False,
        min_area_px: int = 1,
        thresholds: Mapping[int, float] | None = None,
    ) -> list[AnnotatedObject]:
        """Make annotations of a head's result, one for each connected piece of each class, as one step.

        Classes are matched by name; those that are missing are added.

        Args:
            segmentation: What a head found, or what `from_segmentation` made of it in a worker.
            model: Name to record in place of the head's own.
            keep_existing: Leave pixels alone that belong to annotations already.
            min_area_px: Smaller pieces are left out.
            thresholds: Class id of the head -> probability below which its pixels are left out.

        Returns:
            The new annotations.

        Raises:
            ImageError: If it is not of the image's size.
            ClassListError: If more than 255 classes come together.
            StorageError: If it cannot be saved; nothing has changed.
        """
        found = self._components(segmentation, min_area_px, thresholds)
        return self._add(plan_addition(self.document, found, model, keep_existing))

    def offer(
        self,
        segmentation: Segmentation | Components,
        min_area_px: int = 1,
        thresholds: Mapping[int, float] | None = None,
    ) -> list[AnnotatedObject]:
        """Take a head's result as the stage says: `propose` it, or in the assisted stage leave it alone."""
        if self.stage == "assisted":
            self.message.emit("Proposals are switched off; choose the semi-automatic stage to get them.")
            return []
        return self.propose(segmentation, None, min_area_px, thresholds)

    def propose(
        self,
        segmentation: Segmentation | Components,
        model: str | None = None,
        min_area_px: int = 1,
        thresholds: Mapping[int, float] | None = None,
    ) -> list[AnnotatedObject]:
        """Put a head's result in place of what heads proposed before, as one step.

        What a person made, reviewed or is unsure of stays, and so does everything in the annotated area: a newer
        head never undoes a correction. Where a region alone was segmented, what was proposed outside it stays, too.
        Otherwise as `add_segmentation`.
        """
        found = self._components(segmentation, min_area_px, thresholds)
        return self._add(plan_proposal(self.document, found, model))

    def propose_job(self, components: Components, model: str | None = None) -> Job[Prepared | None]:
        """Make a job that works out what `propose` would do now; `take` does it."""
        return self._prepare_job(lambda document: plan_proposal(document, components, model))

    def import_job(self, components: Components) -> Job[Prepared | None]:
        """Make a job that works out what `take_import` would do now; `take` does it."""
        return self._prepare_job(lambda document: plan_import(document, components))

    def take(self, prepared: Prepared | None) -> list[AnnotatedObject] | None:
        """Do and save what a job has worked out, as one step; however much it is, that takes no time.

        Args:
            prepared: Result of the job; None if it had found nothing to do.

        Returns:
            The new annotations; None if the annotations have changed since the job was made, and nothing has been
            done: make another one.

        Raises:
            StorageError: If it cannot be saved; nothing has changed.
        """
        if prepared is None:
            self.message.emit(NOTHING)
            return []
        if not self._take(prepared):
            return None
        changed = prepared.patch.records or {}
        return [after for before, after in changed.values() if before is None and after is not None]

    def import_labels(self, path: str | Path) -> list[AnnotatedObject]:
        """Read annotations of any format of `formats`, as one step; what lies under is overwritten.

        Returns:
            The new annotations.

        Raises:
            SampathError: If the file cannot be read, or is not of the image's size.
            StorageError: If it cannot be saved; nothing has changed.
        """
        return self.take_import(run(read_job(Path(path), self.name, self.hw)))

    def take_import(self, found: Components) -> list[AnnotatedObject]:
        """Take over what `read_job` read in a worker; as `import_labels`."""
        return self._add(plan_import(self.document, found))

    def export(self, folder: str | Path, formats: Sequence[str] = ("png", "tiff")) -> list[Path]:
        """Write annotations in some of `formats.FORMATS`; see `formats.export_labels`.

        Returns:
            The files.

        Raises:
            StorageError: If they cannot be written; earlier files are untouched.
        """
        return run(self.export_job(folder, formats))

    def export_job(self, folder: str | Path, formats: Sequence[str] = ("png", "tiff")) -> Job[list[Path]]:
        """Make a job that writes the annotations as they are now; see `export`."""
        return export_job(Path(folder), self.name, self.document, tuple(formats))

    def save_to_dataset(self, folder: str | Path, group: str = "", mpp: float | None = None) -> DatasetImage:
        """Save the image, its labels and its annotated area as a training sample; see `save_job`."""
        return run(self.save_job(folder, group, mpp))

    def save_job(self, folder: str | Path, group: str = "", mpp: float | None = None) -> Job[DatasetImage]:
        """Make a job that saves the image as it is now into a `dataset.json` folder, which is made if need be.

        A sample of these pixels is replaced; beside one of another image of the same name, this one gets a name of
        its own, such as "tile (2)".

        Args:
            folder: The dataset.
            group: Slide or case that the image is of; images of one are never split.
            mpp: Micrometres per pixel, if known; those of the session if left out.

        Raises:
            DatasetError: If the folder holds something else, or the image is too large for a sample.
            StorageError: If it cannot be written; what was there before is untouched.
        """
        return save_job(Path(folder), self.image, self.name, self.document, group, mpp or self.mpp)

    def _components(
        self,
        segmentation: Segmentation | Components,
        min_area_px: int,
        thresholds: Mapping[int, float] | None,
    ) -> Components:
        if isinstance(segmentation, Components):
            return segmentation
        if getattr(segmentation, "origin_rc", (0, 0)) == (0, 0):
            check_size(np.shape(segmentation.labels), self.hw, "The segmentation")
        names = {info.id: info.name for info in segmentation.classes}
        named = {names[class_id]: least for class_id, least in (thresholds or {}).items()}
        return from_segmentation(segmentation, ResultFilter(min_area_px, named))

    def _add(self, operation: Operation | None) -> list[AnnotatedObject]:
        """Do what was planned; returns the annotations that are new."""
        if operation is None:
            self.message.emit(NOTHING)
            return []
        first = self.document.next_id
        self._do(operation)
        return [one for one in self.document.objects.values() if one.id >= first]

    def _prepare_job(self, plan: Callable[[Document], Operation | None]) -> Job[Prepared | None]:
        fork, number = self.document.fork(), self._edits.number

        def job() -> Job[Prepared | None]:
            yield Progress(0, 0, "Taking over what was found")
            operation = plan(fork)
            return None if operation is None else prepare(fork, number, operation)

        return job()
