"""The journals of the images of a project, read and changed without their pixels."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ...annotations import ClassList, Document, Header, Journal, open_journal
from ...errors import SampathError
from ...files.journal_files import copy_journal
from ...jobs import Job, Progress
from ..editor import Editor
from ..journals import journal_file
from ..objects.class_tools import ClassTools
from .project import Project

FOLDER = "journals"
"""Folder of the journals in a shared project."""


def open_editor(journal: Path) -> Editor:
    """Open a journal without its image; close the editor afterwards.

    Raises:
        JournalError: If it is damaged or open in another session.
        StorageError: If it cannot be read.
    """
    header = open_header(journal)
    opened = Journal(journal, header)
    try:
        return Editor(header.hw, header.classes, opened)
    except BaseException:
        opened.close()
        raise


def open_header(journal: Path) -> Header:
    """Read the header of a journal; raises as `open_editor`."""
    opened = open_journal(journal)
    opened.close()
    return opened.header


def read_document(journal: Path) -> Document:
    """Replay a copy of a journal, which may be open in a session; raises as `open_editor`."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / journal.name
        copy_journal(journal, copy)
        editor = open_editor(copy)
        editor.close()
        return editor.document


def remove_class_job(
    project: Project, class_id: int, into: int | None, sessions_dir: Path, opened: Collection[str] = ()
) -> Job[dict[str, str]]:
    """Make a job that removes a class from a project and from the annotations of all its images.

    In each image this is one step that can be undone there.

    Args:
        project: The project.
        class_id: The class to remove.
        into: Id of the class that gets its objects; None deletes them.
        sessions_dir: Folder of the journals.
        opened: Digests of images that are open in sessions, which the caller changes.

    Returns:
        The job; its result is the name of each image that could not be changed -> reason, one sentence.

    Raises:
        UnknownNameError: If there is no such class.
        DatasetError: If both classes are the same, or a sample cannot be read.
    """
    names = {info.id: info.name for info in project.classes}
    project.drop_class(class_id, into)
    failed: dict[str, str] = {}
    images = list(project.images.values())
    for number, image in enumerate(images):
        yield Progress(number, len(images), "Removing the class", "images")
        journal = journal_file(image.digest, sessions_dir)
        if image.digest in opened or not journal.is_file():
            continue
        try:
            editor = open_editor(journal)
            try:
                tools = ClassTools(editor.document, editor.do)
                take_class_out(tools, editor.classes, names[class_id], None if into is None else names[into])
            finally:
                editor.close()
        except SampathError as error:
            failed[image.name] = str(error)
    return failed


def take_class_out(tools: ClassTools, classes: ClassList, name: str, into: str | None) -> None:
    """Delete a class of one image with its objects, or merge it into another class.

    Args:
        tools: The class tools of a session or editor.
        classes: Its class list.
        name: Name of the class.
        into: Name of the class that gets its objects; None deletes them.
    """
    info = classes.find(name)
    if info is None:
        return
    if into is None:
        tools.delete(info.id)
        return
    target = classes.find(into) or classes.add(into)
    tools.merge(info.id, target.id)


def install(source: Path, journal: Path) -> bool:
    """Copy a journal of a shared project to its place, unless there is one; return True if it was copied."""
    if journal.exists():
        return False
    copy_journal(source, journal)
    return True
