"""Pack a project with its journals into one zip file, and unpack it on another machine."""

from __future__ import annotations

import shutil
import stat
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ...errors import DatasetError, StorageError
from ...files import open_regular, write_atomically
from ...files.journal_files import named_files
from ...formats.dataset.manifest import MANIFEST
from ...jobs import Job, Progress
from ..journals import journal_file
from .content import FILE, ProjectContent, ProjectImage, dump, load
from .journals import FOLDER as JOURNALS
from .journals import install
from .placing import COPIES
from .project import Project

PACKED = ("images", "labels", "instances", "annotated", "provenance", "heads", "decoders", COPIES)
"""Folders of a project that are packed with all their files."""
MAX_RATIO = 200
"""Highest ratio of unpacked to packed size of a zip file; images and journals stay below 50."""


def pack_job(project: Project, target: Path, sessions_dir: Path, with_images: bool = True) -> Job[Path]:
    """Make a job that packs a project: samples, heads, notes, journals and, if wanted, the images used in place.

    Args:
        project: The project.
        target: The zip file; replaced if it exists.
        sessions_dir: Folder of the journals.
        with_images: Also pack images that are used in place; otherwise only their paths.

    Returns:
        The job; its result is `target`.

    Raises:
        StorageError: If a file cannot be read or written; an existing zip file is untouched.
    """
    project.reload()
    members: dict[str, Path] = {MANIFEST: project.path / MANIFEST}
    for folder in PACKED:
        members |= {path.relative_to(project.path).as_posix(): path for path in _files(project.path / folder)}
    images = {}
    for image in project.images.values():
        journal = journal_file(image.digest, sessions_dir)
        if journal.is_file():
            members[f"{JOURNALS}/{journal.name}"] = journal
        images[image.digest] = _packed(project, image, members) if with_images else image
    content = dump(replace(project.content, images=images))
    target = target.expanduser()
    yield from _write_job(target, members, content)
    return target


def _packed(project: Project, image: ProjectImage, members: dict[str, Path]) -> ProjectImage:
    """Add the file of an image that is used in place to the members; return the image as it is in the zip file."""
    path = project.file_of(image)
    if path is None or path.is_relative_to(project.path):
        return image
    number, name = 1, f"{COPIES}/{path.name}"
    while name in members:
        number += 1
        name = f"{COPIES}/{path.stem} ({number}){path.suffix}"
    if path.is_dir():
        members |= {f"{name}/{part.relative_to(path).as_posix()}": part for part in _files(path)}
    else:
        members[name] = path
    return replace(image, file=name, relative="")


def _write_job(target: Path, members: Mapping[str, Path], content: bytes) -> Job[None]:
    def write(stream: BinaryIO) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(FILE, content)
            for name, path in members.items():
                packed.write(path, name)
                if name.startswith(f"{JOURNALS}/"):
                    # After the journal, which may be open in a session
                    for file in filter(Path.is_file, named_files(path)):
                        packed.write(file, f"{JOURNALS}/{file.name}")

    yield Progress(0, len(members), "Packing the project", "files")
    write_atomically(target, write)
    yield Progress(len(members), len(members), "Packing the project", "files")


def unpack_job(source: Path, folder: Path, sessions_dir: Path) -> Job[Project]:
    """Make a job that unpacks a project into a new folder and puts its journals in place.

    A journal that exists already is kept; `merging.merge_job` reports the differences.

    Args:
        source: The zip file.
        folder: Folder of the project, new or empty.
        sessions_dir: Folder of the journals.

    Raises:
        DatasetError: If it is not a zip file of a project, or the folder has files.
        StorageError: If a file cannot be written.
    """
    folder = folder.expanduser()
    if folder.exists() and any(folder.iterdir()):
        raise DatasetError(f"'{folder}' is not empty; choose a new folder for the project.")
    existed = folder.exists()
    try:
        yield from extract_job(source, folder)
        project = Project(folder)
    except BaseException:
        if existed:
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        else:
            shutil.rmtree(folder, ignore_errors=True)
        raise
    for image in project.images.values():
        journal = journal_file(image.digest, sessions_dir)
        packed = folder / JOURNALS / journal.name
        if packed.is_file():
            install(packed, journal)
    return project


def extract_job(source: Path, folder: Path) -> Job[None]:
    """Make a job that extracts a zip file of a project into a folder.

    Raises:
        DatasetError: If it is not a zip file of a project, or has files outside the folder.
        StorageError: If there is not enough space.
    """
    try:
        with open_regular(source.expanduser()) as archive, zipfile.ZipFile(archive) as packed:
            infos = [info for info in packed.infolist() if not info.is_dir()]
            _check(source, infos, folder)
            for number, info in enumerate(infos):
                yield Progress(number, len(infos), "Unpacking the project", "files")
                target = folder / info.filename
                with packed.open(info) as stream:
                    write_atomically(target, partial(shutil.copyfileobj, stream))
    except FileNotFoundError:
        raise DatasetError(f"There is no file '{source}'; check the path.") from None
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise DatasetError(
            f"'{source}' is damaged or not a zip file of a project ({error}); get the file again."
        ) from error
    except IsADirectoryError:
        raise DatasetError(f"'{source}' is a folder; open it as a project instead.") from None


def _check(source: Path, infos: list[zipfile.ZipInfo], folder: Path) -> None:
    names = {info.filename for info in infos}
    if MANIFEST not in names or FILE not in names:
        raise DatasetError(
            f"'{source}' is not a project: it has no '{FILE}'; choose a zip file made by 'pack'."
        )
    for info in infos:
        path = PurePosixPath(info.filename)
        linked = stat.S_ISLNK(info.external_attr >> 16)
        if (
            path.is_absolute()
            or ".." in path.parts
            or "\\" in info.filename
            or ":" in path.parts[0]
            or linked
        ):
            raise DatasetError(
                f"'{source}' has the file '{info.filename}', which is a link or lies outside the project; it is not "
                "unpacked: ask for another file."
            )
    size = sum(info.file_size for info in infos)
    if size > MAX_RATIO * max(1, sum(info.compress_size for info in infos)) + 10_000_000:
        raise DatasetError(
            f"'{source}' would unpack to {size / 1e9:.1f} GB, more than {MAX_RATIO} times its size; it is not "
            "unpacked: ask for another file."
        )
    parent = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(parent).free
    if size > free:
        raise StorageError(
            f"'{source}' needs {size / 1e9:.1f} GB and '{parent}' has {free / 1e9:.1f} GB; free some space."
        )


def packed_content(folder: Path) -> ProjectContent:
    """Read the `project.json` of an extracted project.

    Raises:
        DatasetError: If it is damaged.
    """
    content = load(folder / FILE)
    if content is None:
        raise DatasetError(f"'{folder}' has no '{FILE}'; choose a zip file or folder of a project.")
    return content


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(
            path
            for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".")
        )
