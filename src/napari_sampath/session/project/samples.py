"""Training samples of a project: derived from the annotations of the images that are in its training set."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...annotations import Box, ClassList
from ...arrays import BoolArray, ClassInfo, UInt8Array
from ...errors import DatasetError
from ...files import free_name
from ...formats import Snapshot
from ...formats.dataset import editing
from ...formats.dataset.manifest import DatasetImage
from ...formats.labels import renumber
from ...images.slides import Slide
from ...jobs import Job, Progress
from ...rasters import MAX_PIXELS
from ..files.saving import details_of
from ..files.slide_windows import SlideWindows, corner_of, sample_step, window_name, windows_of
from ..folder.training_samples import TrainingSamples
from ..session import Session
from .class_list import extended, write_classes
from .content import Draft, ProjectContent, ProjectImage
from .project import Project


class ProjectSamples(TrainingSamples):
    """Saves changed sessions as training samples, if their images are in the training set of a project.

    Other sessions are ignored, so that only images that the user has added are copied.
    """

    def __init__(self, project: Project) -> None:
        super().__init__(project.path)
        self.project = project
        self._kept: dict[str, bytes] = {}
        """Name of each sample of a window of a slide -> digest of the labels that it has."""

    def mark_changed(self, session: Session) -> None:
        """Record that a session may have unsaved changes, if its image is in the training set."""
        image = self.project.find(session.digest)
        if image is not None and image.training:
            super().mark_changed(session)

    def _session_job(self, session: Session) -> Job[DatasetImage | None] | None:
        image, document = self.project.find(session.digest), session.document
        if image is None or not image.training:
            return None
        if session.slide is not None:
            return slide_samples_job(self.project, session, session.slide, self._kept)
        has_labels = document.verified_map.any() or any(obj.trust == 1 for obj in document.objects.values())
        if not has_labels and image.sample not in self.project.dataset.images:
            return None
        return sample_job(self.project, session)


def place_in_image(project: Project, sample: str, box: Box) -> tuple[ProjectImage, Box] | None:
    """Return the image that a training sample is from, and a box (r0, c0, r1, c1) of the sample in its pixels.

    The result is None if the image is not in the project any more.
    """
    samples = project.dataset.images
    for image in project.images.values():
        if image.sample == sample:
            return image, box
        if sample in windows_of(image.sample, (sample,)):
            (row, col), mpp = corner_of(sample), samples[sample].mpp if sample in samples else None
            step = round(mpp / image.mpp) if mpp and image.mpp else 1
            r0, c0, r1, c1 = (value * step for value in box)
            return image, (row + r0, col + c0, row + r1, col + c1)
    return None


def sample_job(project: Project, session: Session) -> Job[DatasetImage | None]:
    """Make a job that saves the current annotations of an image of a project as its training sample.

    Returns:
        The job; its result is None if the image was removed in the meantime.

    Raises:
        DatasetError: If the image is too large for a sample.
    """
    height, width = session.hw
    if height * width > MAX_PIXELS:
        raise DatasetError(f"'{session.name}' is too large for a training sample; save a region of it.")
    document = session.document
    maps, verified_in = document.snapshot(), document.verified_snapshot()
    details = {obj.id: details_of(obj) for obj in document.objects.values()}
    used = {obj.class_id for obj in document.objects.values()}
    classes = tuple(info for info in document.classes if info.id in used)
    snapshot = Snapshot(
        "",
        session.image,
        *maps,
        classes=classes,
        details=details,
        mpp=session.files.mpp,
        digest=session.digest,
    )
    return _save(project, session.digest, snapshot, verified_in)


def _save(
    project: Project, digest: str, snapshot: Snapshot, verified_in: Callable[[Box], BoolArray]
) -> Job[DatasetImage | None]:
    yield Progress(0, 1, "Saving the training sample", "images")
    instance_map, details = np.asarray(snapshot.instance_map), snapshot.details
    if int(instance_map.max(initial=0)) >= 2**16:
        instance_map, details = renumber(instance_map, details)
    verified = verified_in((0, 0, *instance_map.shape))
    provenance = {"annotations": {str(number): values for number, values in details.items()}}
    with project.editing() as draft:
        image = draft.content.images.get(digest)
        if image is None or not image.training:
            return None
        present = image.sample in project.dataset.images
        snapshot = dataclasses.replace(
            snapshot,
            name=image.sample if present else _free_sample(project, draft, image),
            instance_map=instance_map,
            verified=_inside(verified, image.regions),
            mpp=image.mpp or snapshot.mpp,
        )
        entry = _put(project, draft, snapshot, image.slide, provenance)
        draft.put(dataclasses.replace(image, sample=entry.name))
    yield Progress(1, 1, "Saving the training sample", "images")
    return entry


def slide_samples_job(
    project: Project, session: Session, slide: Slide, kept: dict[str, bytes]
) -> Job[DatasetImage | None]:
    """Make a job that saves the windows of a slide of a project as training samples, see `SlideWindows`.

    The samples have the slide as their case, so that all of them are in one split. Windows without verified pixels are
    removed.

    Args:
        project: The project.
        session: The session of the slide.
        slide: The slide.
        kept: Name of each sample -> digest of its labels at the last call; samples with the same labels are skipped.

    Returns:
        The job; its result is the last saved sample, None if none had changed.
    """
    image = project.images[session.digest]
    mpp = image.mpp or session.files.mpp
    step = sample_step(mpp, project.dataset.images.values(), image.sample)
    windows = SlideWindows(slide, session.document, step, mpp)
    return _save_windows(project, session.digest, windows, kept)


def _save_windows(
    project: Project, digest: str, windows: SlideWindows, kept: dict[str, bytes]
) -> Job[DatasetImage | None]:
    boxes: list[Box] = []
    for box in windows.boxes():
        yield Progress(len(boxes), 0, "Looking for verified windows")
        boxes.append(box)
    with project.editing() as draft:
        image = draft.content.images.get(digest)
        if image is None or not image.training or not (boxes or image.sample):
            return None
        if not image.sample:
            image = draft.put(dataclasses.replace(image, sample=_free_sample(project, draft, image)))
    entry: DatasetImage | None = None
    for number, box in enumerate(boxes):
        yield Progress(number, len(boxes), "Saving the training samples", "windows")
        snapshot, labels = windows.labels(window_name(image.sample, box), box, image.regions)
        if kept.get(snapshot.name) == labels and snapshot.name in project.dataset.images:
            continue
        snapshot = dataclasses.replace(snapshot, image=windows.pixels(box))
        provenance = {"annotations": {str(key): values for key, values in snapshot.details.items()}}
        with project.editing() as draft:
            now = draft.content.images.get(digest)
            if now is None or not now.training:
                return entry
            if now.sample == image.sample:
                entry = _put(project, draft, snapshot, project.slide_of(image), provenance)
        if now.sample != image.sample:  # The image was renamed in the meantime.
            return (yield from _save_windows(project, digest, windows, kept))
        kept[snapshot.name] = labels
    corners = {box[:2] for box in boxes}
    with project.editing() as draft:
        now = draft.content.images.get(digest)
        if now is None or now.sample != image.sample:
            return entry
        for sample in windows_of(image.sample, tuple(project.dataset.images)):
            if corner_of(sample) not in corners:
                editing.remove_image(project.dataset, sample)
    return entry


def _free_sample(project: Project, draft: Draft, image: ProjectImage) -> str:
    taken = {other.sample for other in draft.content.images.values()} | set(project.dataset.images)
    return free_name(image.name, taken - {""})


def _put(
    project: Project, draft: Draft, snapshot: Snapshot, slide: str, provenance: dict[str, Any]
) -> DatasetImage:
    """Save a sample with the class numbers of the project."""
    # The session gets the class list of the project in its own thread, perhaps later.
    draft.content = _with_classes(draft.content, snapshot.classes or ())
    numbers = _class_numbers(draft.content, snapshot.classes or ())
    used = np.unique(numbers[[info.id for info in snapshot.classes or ()]]).tolist()
    write_classes(project.dataset, draft.content.classes, used)
    class_map = numbers[np.asarray(snapshot.class_map)]
    # The numbers are now those of the dataset.
    renumbered = dataclasses.replace(snapshot, class_map=class_map, classes=None)
    return project.dataset.save_image(renumbered, slide, provenance)


def _inside(verified: BoolArray, regions: tuple[Box, ...]) -> BoolArray:
    """Restrict a mask (H, W) to boxes; no box means no restriction."""
    if not regions:
        return verified
    inside = np.zeros_like(verified)
    for r0, c0, r1, c1 in regions:
        inside[r0:r1, c0:c1] = verified[r0:r1, c0:c1]
    return inside


def _with_classes(content: ProjectContent, classes: Sequence[ClassInfo]) -> ProjectContent:
    """Add the classes of an image that the project has neither now nor under a former name."""
    names = {info.key for info in content.classes} | content.renamed.keys()
    unknown = [info for info in classes if info.key not in names]
    return dataclasses.replace(content, classes=extended(content.classes, unknown)) if unknown else content


def _class_numbers(content: ProjectContent, classes: Sequence[ClassInfo]) -> UInt8Array:
    """Return the table (256,) from the class numbers of an image to those of its project."""
    table = np.zeros(256, dtype=np.uint8)
    present = ClassList(content.classes)
    for info in classes:
        match = present.find(info.name) or present.by_name(content.renamed[info.key])
        table[info.id] = match.id
    return table
