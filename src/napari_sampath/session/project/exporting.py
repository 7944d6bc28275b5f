"""Export all images of a project, with their labels as they are in the journals, into one folder for each split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ...arrays import ClassInfo, UInt8Array
from ...errors import DatasetError, SampathError
from ...files import write_atomically
from ...files.messages import plural
from ...jobs import Job, Progress
from ..journals import journal_file
from ..objects.class_adoption import plan_adoption, unknown_classes
from ..session import Session
from .class_list import extended
from .content import ProjectImage
from .membership import read_sample, restore_sample
from .project import Project

README = "README.txt"
NO_SPLIT = "unassigned"
"""Folder of images without a split."""


@dataclass(slots=True)
class ProjectExport:
    """What was exported from a project."""

    images: dict[str, str] = field(default_factory=dict)
    """Name of each exported image -> its split."""
    objects: int = 0
    unreviewed: int = 0
    """Number of exported objects that no person made, changed or reviewed."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Name of each image that was not exported -> reason, one sentence."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what the formats do not keep."""


def export_project_job(
    project: Project,
    folder: Path,
    formats: Sequence[str],
    sessions_dir: Path,
    reviewed_only: bool = False,
) -> Job[ProjectExport]:
    """Make a job that exports the images of a project, each in the folder of its split, and a README.

    Args:
        project: The project.
        folder: The new or empty folder to write to.
        formats: Names of formats that can be written, see `formats.registry.writable`.
        sessions_dir: Folder of the journals.
        reviewed_only: Leave out objects that nobody made, changed or reviewed.

    Raises:
        DatasetError: If the folder has files.
        StorageError: If a file cannot be written.
    """
    folder = folder.expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"'{folder}' is not empty; choose a new folder for the export.")
    result = ProjectExport()
    for number, image, path in images_with_files(project, result.skipped):
        yield Progress(number, len(project.images), f"Exporting {image.name}", "images")
        with ExitStack() as opened:
            try:
                session = opened.enter_context(annotated(project, image, path, sessions_dir))
            except SampathError as error:
                result.skipped[image.name] = str(error)
                continue
            yield from _export_job(project, image, path, session, folder, formats, reviewed_only, result)
    text = _readme(project, result, formats, reviewed_only).encode()
    write_atomically(folder / README, lambda stream: stream.write(text))
    return result


def images_with_files(project: Project, skipped: dict[str, str]) -> Iterator[tuple[int, ProjectImage, Path]]:
    """Yield number, image and file of the images of a project; add to `skipped` why the others are left out."""
    for number, image in enumerate(list(project.images.values())):
        path = project.file_of(image)
        if path is None:
            skipped[image.name] = "its file is missing; check the project to find it again"
        else:
            yield number, image, path


def classes_in_use(project: Project, sessions_dir: Path) -> tuple[ClassInfo, ...]:
    """Return the class list of a project and the classes that only its images have.

    An image gets the class list of its project when it is opened in the window; an image that was annotated elsewhere
    or with the command line may have further classes. They get free numbers, the same ones in all images.
    """
    from .journals import read_document

    classes: tuple[ClassInfo, ...] = project.classes
    for image in project.images.values():
        journal = journal_file(image.digest, sessions_dir)
        if journal.is_file():
            try:
                unknown = unknown_classes(read_document(journal), classes, project.renamed)
            except SampathError:  # Whoever opens the image says why.
                continue
            classes = extended(classes, unknown) if unknown else classes
    return classes


def open_annotated(
    project: Project,
    image: ProjectImage,
    pixels: UInt8Array,
    sessions_dir: Path,
    classes: tuple[ClassInfo, ...] | None = None,
) -> Session:
    """Open a session in memory with the annotations of an image, so that its journal is not changed."""
    from .journals import read_document

    classes = project.classes if classes is None else classes
    session = Session(pixels, image.name, classes=classes)
    session.files.mpp = image.mpp
    journal = journal_file(image.digest, sessions_dir)
    if journal.is_file():
        session.document.become(read_document(journal))
    else:
        restore_sample(session, read_sample(project, image.digest))
    operation = plan_adoption(session.document, classes, project.renamed)
    if operation is not None:
        session.class_tools.adopt(classes, project.renamed)
    return session


@contextmanager
def annotated(
    project: Project,
    image: ProjectImage,
    path: Path,
    sessions_dir: Path,
    classes: tuple[ClassInfo, ...] | None = None,
) -> Iterator[Session]:
    """Open the file of an image with its annotations, as `open_annotated`, until the `with` block ends.

    Raises:
        SampathError: If the file or its annotations cannot be read.
    """
    from ...images import open_image

    with open_image(path) as loaded:
        session = open_annotated(project, image, loaded.pixels, sessions_dir, classes)
        try:
            yield session
        finally:
            session.close()


def _export_job(
    project: Project,
    image: ProjectImage,
    path: Path,
    session: Session,
    folder: Path,
    formats: Sequence[str],
    reviewed_only: bool,
    result: ProjectExport,
) -> Job[None]:
    unreviewed = [obj.id for obj in session.document.objects.values() if obj.trust == 0]
    if reviewed_only and unreviewed:
        session.objects.delete(unreviewed)
        unreviewed = []
    if not session.document.objects and not session.document.verified_map.any():
        result.skipped[image.name] = "it has no annotations"
        return
    split = project.split_of(image) or NO_SPLIT
    session.files.file_name = path.name if path.stem == image.name else f"{image.name}{path.suffix}"
    yield from session.files.export_job(folder / split, formats, result.notes)
    result.images[image.name] = split
    result.objects += len(session.document.objects)
    result.unreviewed += len(unreviewed)


def _readme(project: Project, result: ProjectExport, formats: Sequence[str], reviewed_only: bool) -> str:
    classes = "\n".join(f"  {info.id}  {info.name}" for info in project.classes)
    splits = sorted(set(result.images.values()))
    counts = "\n".join(
        f"  {split}: {plural(list(result.images.values()).count(split), 'image')}" for split in splits
    )
    review = f"{result.unreviewed} of {plural(result.objects, 'object')} were not reviewed by a person."
    if reviewed_only:
        review = "Objects that no person reviewed are left out."
    skipped = "".join(f"\n  {name}: {reason}" for name, reason in result.skipped.items())
    notes = "".join(f"\n  {note}" for note in dict.fromkeys(result.notes))
    return (
        f"Export of the project '{project.name}' by napari-sampath\n\n"
        f"Formats: {', '.join(formats)}\n"
        f"Images, by split (all images of a slide or case are in one split):\n{counts or '  none'}\n"
        f"Classes, with their numbers in all files:\n{classes or '  none'}\n"
        f"{review}\n"
        + (f"Not exported:{skipped}\n" if skipped else "")
        + (f"Notes:{notes}\n" if notes else "")
    )
