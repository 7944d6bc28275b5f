"""What comes into a session as a whole, and goes out of it: results of heads, label files, training samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..annotations import Add, Annotation, Batch, Box, Delete, Erase, Source, bounds, shaping
from ..arrays import BoolArray, LocalMask
from ..jobs import Job, run
from .components import (
    Components,
    Segmentation,
    check_size,
    from_segmentation,
    make_items,
    match_classes,
)
from .editor import Editor
from .saving import export_job, read_job, save_job
from .stages import Stage

if TYPE_CHECKING:
    from ..formats.dataset_manifest import DatasetImage


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
    ) -> list[Annotation]:
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
        taken = (lambda box: self.document.instance_map.window(box) > 0) if keep_existing else None
        return self._add_components(found, "head", model, taken)

    def offer(
        self,
        segmentation: Segmentation | Components,
        min_area_px: int = 1,
        thresholds: Mapping[int, float] | None = None,
    ) -> list[Annotation]:
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
    ) -> list[Annotation]:
        """Put a head's result in place of what heads proposed before, as one step.

        What a person made, reviewed or is unsure of stays, and so does everything in the annotated area: a newer
        head never undoes a correction. Where a region alone was segmented, what was proposed outside it stays, too.
        Otherwise as `add_segmentation`.
        """
        found = self._components(segmentation, min_area_px, thresholds)
        records = self.document.annotations
        old = tuple(one.id for one in records.values() if one.source == "head" and one.trust == 0)
        is_old = np.zeros(self.document.next_id, dtype=np.bool_)
        is_old[list(old)] = True
        replaced, wipe = self._outdated(old, found.within or (0, 0, *self.hw))

        def taken(box: Box) -> BoolArray:
            ids = self.document.instance_map.window(box)
            kept: BoolArray = ((ids > 0) & ~is_old[ids]) | self.document.annotated(box)
            return kept

        return self._add_components(found, "head", model, taken, replaced, wipe)

    def import_labels(self, path: str | Path) -> list[Annotation]:
        """Read annotations of any format of `formats`, as one step; what lies under is overwritten.

        Returns:
            The new annotations.

        Raises:
            SampathError: If the file cannot be read, or is not of the image's size.
            StorageError: If it cannot be saved; nothing has changed.
        """
        return self.take_import(run(read_job(Path(path), self.name, self.hw)))

    def take_import(self, found: Components) -> list[Annotation]:
        """Take over what `read_job` read in a worker; as `import_labels`."""
        return self._add_components(found, "import", None, None)

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

    def _outdated(self, old: tuple[int, ...], within: Box) -> tuple[tuple[int, ...], LocalMask | None]:
        """Tell proposals of which nothing stays from the pixels that others lose, None if there are none.

        What lies outside of the region stays, and what lies in an area that was marked as annotated.
        """
        document = self.document
        if within == (0, 0, *self.hw) and not any(True for _ in document.vouched_map.filled_boxes()):
            return old, None
        gone: list[int] = []
        cuts: list[LocalMask] = []
        for one in old:
            mask = document.pixels(one)
            box = bounds(mask)
            part = tuple(slice(max(within[n] - box[n], 0), max(within[n + 2] - box[n], 0)) for n in (0, 1))
            going = np.zeros_like(mask.bitmap)
            going[part] = mask.bitmap[part] & ~document.annotated(box)[part]
            if np.array_equal(going, mask.bitmap):
                gone.append(one)
            elif going.any():
                cuts.append(LocalMask(mask.row, mask.col, going))
        return tuple(gone), shaping.joined(cuts) if cuts else None

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
        return from_segmentation(segmentation, min_area_px, thresholds)

    def _add_components(
        self,
        components: Components,
        source: Source,
        model: str | None,
        taken: Callable[[Box], BoolArray] | None,
        delete: tuple[int, ...] = (),
        wipe: LocalMask | None = None,
    ) -> list[Annotation]:
        """Add pieces, less the pixels that are `taken`, and delete others or pixels of them, as one step."""
        to_id, classes = match_classes(components, self.classes)
        items = make_items(components, self.document.next_id, to_id, source, model or components.head, taken)
        if not items and not delete and wipe is None:
            self.message.emit("Nothing was found, so nothing was added.")
            return []
        add = Add(tuple(items), classes if items and classes != self.classes.snapshot else None)
        # A plain addition is written as one, so that what a journal says stays short.
        before = (*((Delete(delete),) if delete else ()), *((Erase(wipe),) if wipe is not None else ()))
        self._do(Batch((*before, add), "the automatic result") if before else add)
        made = (self.document.annotations.get(annotation.id) for annotation, _ in items)
        # One that later ones cover altogether is not there any more.
        return [annotation for annotation in made if annotation is not None]
