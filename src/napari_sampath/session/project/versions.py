"""The versions of the annotations of one image: ours, and those of other readers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...annotations import Document
from ...errors import DatasetError
from ...files import file_stem
from ...files.journal_files import copy_journal
from ...jobs import Job, Progress
from ..journals import journal_file
from .agreement import Agreement, compare, consensus, resolve
from .content import ProjectImage
from .journals import FOLDER as JOURNALS
from .journals import open_editor, open_header, read_document
from .merging import CONFLICTS
from .placing import unused
from .project import Project
from .sharing import extract_job


@dataclass(frozen=True, slots=True, eq=False)
class ComparedVersion:
    """A comparison of our version of an image with another one."""

    image: str
    """Name of the image in the project."""
    first: str
    """Readers of our version, or the name of its file."""
    second: str
    agreement: Agreement
    consensus: Path | None
    """Journal of the consensus, if it was written."""


def other_versions(project: Project, digest: str) -> Iterator[Path]:
    """Yield the journals in `conflicts/` of a project that belong to the image with this digest."""
    for path in sorted((project.path / CONFLICTS).glob("*.jsonl")):
        try:
            with path.open("rb") as stream:
                header = json.loads(stream.readline())
        except (OSError, ValueError):
            continue
        if isinstance(header, dict) and header.get("digest") == digest:
            yield path


def compare_job(
    project: Project,
    sessions_dir: Path,
    other: Path | None = None,
    image: str | None = None,
    rule: str | None = None,
) -> Job[list[ComparedVersion]]:
    """Make a job that compares our annotations with those of other readers.

    Args:
        project: Our project.
        sessions_dir: Folder of our journals.
        other: Project of the other reader, as a zip file or folder, or a journal; None for the versions that a merge
            has put into `conflicts/`.
        image: Name of the only image to compare.
        rule: Rule of `agreement.resolve` by which a consensus is written to `conflicts/`; None writes none.

    Raises:
        DatasetError: If `other` cannot be used.
        JournalError: If a journal is damaged.
    """
    found: list[ComparedVersion] = []
    images = [entry for entry in project.images.values() if image in (None, entry.name)]
    with tempfile.TemporaryDirectory(prefix="sampath-") as temporary:
        folder = Path(temporary)
        if other is not None and other.is_file() and other.suffix != ".jsonl":
            yield from extract_job(other, folder)
        elif other is not None:
            folder = other
        for number, entry in enumerate(images):
            yield Progress(number, len(images), f"Comparing {entry.name}", "images")
            ours = journal_file(entry.digest, sessions_dir)
            if not ours.is_file():
                continue
            theirs = other_versions(project, entry.digest) if other is None else _journals(folder, entry)
            for path in theirs:
                found.append(_compare(project, entry, ours, path, rule))
    yield Progress(len(images), len(images), "Comparing", "images")
    return found


def write_consensus(project: Project, image: ProjectImage, ours: Path, theirs: Path, rule: str) -> Path:
    """Write the consensus of two versions as a further version in `conflicts/`; both are kept.

    Args:
        project: The project.
        image: The image.
        ours: Our journal, which may be open in a session.
        theirs: The other journal.
        rule: See `agreement.resolve`.

    Returns:
        The journal of the consensus.

    Raises:
        JournalError: If a journal is damaged.
        StorageError: If the file cannot be written.
    """
    second = read_document(theirs)
    with tempfile.TemporaryDirectory(prefix="sampath-") as temporary:
        copy = Path(temporary) / ours.name
        copy_journal(ours, copy)
        editor = open_editor(copy)
        try:
            agreement = compare(editor.document, second)
            step = consensus(editor.document, second, agreement, resolve(agreement, rule))
            if step is not None:
                editor.do(step)
        finally:
            editor.close()
        return keep_version(project, image, copy, "consensus")


def keep_version(project: Project, image: ProjectImage, journal: Path, label: str) -> Path:
    """Copy a journal, which may be open in a session, into `conflicts/` as a version with this label.

    Raises:
        StorageError: If the file cannot be written.
    """
    target = unused(project.path / CONFLICTS / f"{file_stem(f'{image.name} ({label})')}.jsonl")
    copy_journal(journal, target)
    return target


def version_name(document: Document, path: Path) -> str:
    """Name a version by its readers, or by its file if they gave no name."""
    objects = document.objects.values()
    readers = sorted({name for obj in objects for name in (obj.made_by, obj.changed_by) if name})
    return ", ".join(readers) or path.stem


def _compare(
    project: Project, image: ProjectImage, ours: Path, theirs: Path, rule: str | None
) -> ComparedVersion:
    first, second = read_document(ours), read_document(theirs)
    written = None if rule is None else write_consensus(project, image, ours, theirs, rule)
    names = version_name(first, Path("this project")), version_name(second, theirs)
    return ComparedVersion(image.name, *names, compare(first, second), written)


def _journals(source: Path, image: ProjectImage) -> Iterator[Path]:
    """Yield the journal of an image in a packed project, or `source` itself if it is the journal of the image."""
    if source.is_file():
        if open_header(source).digest != image.digest:
            raise DatasetError(
                f"'{source.name}' is not a journal of '{image.name}'; choose its image with --image, "
                "or give another file."
            )
        yield source
        return
    packed = source / JOURNALS / journal_file(image.digest, source).name
    if packed.is_file():
        yield packed
