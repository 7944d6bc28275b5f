"""Merge another copy of a project: add new content, report conflicts, overwrite nothing."""

from __future__ import annotations

import filecmp
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...annotations import Document
from ...errors import DatasetError, JournalError, SampathError
from ...files import file_stem, free_name
from ...files.journal_files import copy_journal
from ...formats import DatasetFolder, Snapshot
from ...jobs import Job, Progress
from ..journals import journal_file
from .class_list import extended, write_classes
from .content import Draft, ProjectImage
from .journals import FOLDER as JOURNALS
from .journals import open_editor, read_document
from .placing import place, unused
from .project import Project
from .sharing import extract_job, packed_content

CONFLICTS = "conflicts"
"""Folder of the other version of each image that was changed on both sides."""
_LARGEST_COMPARED_PX = 2**28


@dataclass(frozen=True, slots=True)
class Conflict:
    """An image that was changed on both sides."""

    name: str
    digest: str
    ours: str
    """Description of our version, such as "12 objects, changed 2026-04-01 09:30"."""
    theirs: str
    file: Path
    """Their journal, which is kept in `conflicts/`."""


@dataclass(slots=True)
class MergeResult:
    """What was merged from another project."""

    added: list[str] = field(default_factory=list)
    """Names of new images."""
    updated: list[str] = field(default_factory=list)
    """Names of images whose journal has further steps in the other project."""
    unchanged: list[str] = field(default_factory=list)
    """Names of images that are the same, or whose journal has further steps in our project."""
    conflicts: list[Conflict] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    """Names of new classes."""
    heads: list[str] = field(default_factory=list)
    """File names of new heads, which are not in use yet."""
    failed: dict[str, str] = field(default_factory=dict)
    """Name of each image that could not be merged -> reason, one sentence."""


def merge_job(project: Project, source: Path, sessions_dir: Path) -> Job[MergeResult]:
    """Make a job that merges a zip file or folder of a project into a project.

    Images are compared by their pixels and annotations by their journals: further steps of one side are used. If both
    sides have further steps, our version stays in use, and the other one is kept in `conflicts/`.

    Args:
        project: Our project.
        source: The other project, a zip file of `sharing.pack_job` or a folder.
        sessions_dir: Folder of our journals.

    Raises:
        DatasetError: If `source` is not a project.
        StorageError: If a file cannot be written; what was merged before stays.
    """
    with tempfile.TemporaryDirectory(prefix="sampath-") as temporary:
        folder = source.expanduser()
        if not folder.is_dir():
            folder = Path(temporary)
            yield from extract_job(source, folder)
        theirs = packed_content(folder)
        result, label = MergeResult(), source.stem
        present = {info.key for info in project.classes}
        project.set_classes(extended(project.classes, theirs.classes))
        result.classes = [info.name for info in project.classes if info.key not in present]
        samples = DatasetFolder.open(folder)
        images = list(theirs.images.values())
        for number, image in enumerate(images):
            yield Progress(number, len(images), f"Merging {image.name}", "images")
            try:
                _merge_image(project, image, folder, samples, sessions_dir, label, result)
            except SampathError as error:
                result.failed[image.name] = str(error)
        _copy_heads(project.path / "heads", folder / "heads", label, result)
        if theirs.notes.strip() and theirs.notes.strip() not in project.notes:
            project.set_notes(
                "\n\n".join(filter(None, (project.notes.rstrip(), f"From {label}:\n{theirs.notes}")))
            )
    yield Progress(len(images), len(images), "Merging", "images")
    return result


def take_theirs(project: Project, conflict: Path, digest: str, sessions_dir: Path) -> Path:
    """Use the other version of an image; ours is kept in `conflicts/`.

    Args:
        project: The project.
        conflict: `Conflict.file`.
        digest: `Conflict.digest`.
        sessions_dir: Folder of our journals.

    Returns:
        Path of our former version.

    Raises:
        JournalError: If the image is open in a session.
        StorageError: If a file cannot be written; nothing has changed.
    """
    journal = journal_file(digest, sessions_dir)
    open_editor(journal).close()  # Refuses a journal that is open in a session.
    kept = _keep(project, journal, project.image(digest).name, "ours")
    copy_journal(conflict, journal)
    return kept


def _merge_image(
    project: Project,
    image: ProjectImage,
    folder: Path,
    samples: DatasetFolder,
    sessions_dir: Path,
    label: str,
    result: MergeResult,
) -> None:
    journal = journal_file(image.digest, sessions_dir)
    packed = folder / JOURNALS / journal.name
    their_journal = packed if packed.is_file() else None
    ours = project.find(image.digest)
    if ours is None:
        name = _add_image(project, image, folder, samples)
        result.added.append(name)
    else:
        name = ours.name
    if their_journal is None:
        if ours is not None:
            result.unchanged.append(name)
        return
    if not journal.exists():
        copy_journal(their_journal, journal)
        if ours is not None:
            result.updated.append(name)
        return
    relation = _compare(journal, their_journal)
    if relation == "further":
        open_editor(journal).close()  # Refuses a journal that is open in a session.
        copy_journal(their_journal, journal)
        result.updated.append(name)
    elif relation == "different":
        file = _keep(project, their_journal, name, label)
        texts = _describe(journal), _describe(their_journal)
        result.conflicts.append(Conflict(name, image.digest, *texts, file))
    elif ours is not None:
        result.unchanged.append(name)


def _add_image(project: Project, image: ProjectImage, folder: Path, samples: DatasetFolder) -> str:
    """Add an image with its training sample, if it has one; return its name in our project."""
    source = folder / image.file if image.file and not Path(image.file).is_absolute() else None
    sample = None
    if image.sample in samples.images:
        sample = image.sample
    with project.editing() as draft:
        name = free_name(image.name, (other.name for other in draft.content.images.values()))
        file, relative = image.file, ""
        if source is not None and source.exists():
            file, relative = place(project.path, name, source, copy=True)
        new = replace(image, name=name, file=file, relative=relative, sample="")
        if sample is not None:
            new = replace(new, sample=_add_sample(project, draft, new, sample, samples))
        draft.put(new)
    return name


def _add_sample(
    project: Project, draft: Draft, image: ProjectImage, sample: str, samples: DatasetFolder
) -> str:
    item, entry = samples.read(sample), samples.images[sample]
    name = free_name(image.name, project.dataset.images)
    names = {info.key for info in samples.classes}
    used = [info.id for info in draft.content.classes if info.key in names]
    write_classes(project.dataset, draft.content.classes, used)
    snapshot = Snapshot(
        name,
        item.pixels,
        item.labels,
        item.instances,
        item.annotated,
        [info for info in samples.classes if info.id > 0],
        mpp=entry.mpp,
    )
    return project.dataset.save_image(snapshot, image.slide or entry.group, item.provenance).name


def _compare(ours: Path, theirs: Path) -> str:
    """Compare two journals of one image: "same", "behind" (they have less), "further" (they have more), "different"."""
    if filecmp.cmp(ours, theirs, shallow=False):
        return "same"
    our_bytes, their_bytes = ours.read_bytes(), theirs.read_bytes()
    if our_bytes.startswith(their_bytes):
        return "behind"
    if their_bytes.startswith(our_bytes):
        return "further"
    our_document, their_document = read_document(ours), read_document(theirs)
    if our_document.hw != their_document.hw:
        raise JournalError(f"'{theirs.name}' belongs to an image of another size; it is not merged.")
    if not their_document.objects and not their_document.verified_map.any():
        return "behind"
    if not our_document.objects and not our_document.verified_map.any():
        return "further"
    return "same" if _equal(our_document, their_document) else "different"


def _equal(ours: Document, theirs: Document) -> bool:
    """Compare the pixels of objects, their classes by name, and the verified area."""
    height, width = ours.hw
    if height * width > _LARGEST_COMPARED_PX or ours.objects.keys() != theirs.objects.keys():
        return False
    for number, obj in ours.objects.items():
        other = theirs.objects[number]
        if ours.classes.by_id(obj.class_id).key != theirs.classes.by_id(other.class_id).key:
            return False
        if (obj.reviewed, obj.unsure) != (other.reviewed, other.unsure):
            return False
    box = (0, 0, height, width)
    same = np.array_equal(ours.instance_map.window(box), theirs.instance_map.window(box))
    return same and np.array_equal(ours.verified(box), theirs.verified(box))


def _describe(journal: Path) -> str:
    try:
        document = read_document(journal)
    except SampathError as error:
        return f"unreadable ({error})"
    times = [obj.modified or obj.created for obj in document.objects.values()]
    changed = f", changed {max(times)[:16].replace('T', ' ')}" if times else ""
    count = len(document.objects)
    return f"{count} object{'s' * (count != 1)}{changed}"


def _keep(project: Project, journal: Path, name: str, label: str) -> Path:
    """Copy a journal into the folder of conflicts under a name that states its origin."""
    target = unused(project.path / CONFLICTS / f"{file_stem(f'{name} ({label})')}.jsonl")
    copy_journal(journal, target)
    return target


def _copy_heads(ours: Path, theirs: Path, label: str, result: MergeResult) -> None:
    if not theirs.is_dir():
        return
    for head in sorted(theirs.glob("*.safetensors")):
        same = [path for path in ours.glob("*.safetensors") if filecmp.cmp(path, head, shallow=False)]
        if same:
            continue
        target = ours / head.name
        if target.exists():
            target = unused(ours / f"{head.stem} ({file_stem(label)}){head.suffix}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(head, target)
        except OSError as error:
            raise DatasetError(f"The head '{head.name}' could not be copied ({error.strerror}).") from error
        result.heads.append(target.name)
