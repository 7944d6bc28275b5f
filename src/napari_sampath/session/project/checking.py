"""Check a project: list the samples of earlier versions, and find duplicates and missing or moved files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from ...annotations import pixel_digest
from ...errors import SampathError
from ...files import free_name
from ...formats.dataset import editing
from ...jobs import Job, Progress
from .content import ProjectImage
from .placing import place
from .project import Project


@dataclass(frozen=True, slots=True)
class ProjectCheck:
    """Result of a check of a project."""

    duplicates: tuple[tuple[str, str], ...] = ()
    """(name of a training sample, name of the image with the same pixels)."""
    missing: tuple[str, ...] = ()
    """Names of images whose file does not exist."""
    changed: tuple[str, ...] = ()
    """Names of images whose file now has different pixels."""
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Name of each image that cannot be read -> reason, one sentence."""
    found: Mapping[str, Path] = field(default_factory=dict)
    """Name of each image whose missing file was found again -> its new path."""


def listing_job(project: Project) -> Job[int]:
    """Make a job that lists the training samples of an earlier version as images of the project.

    Two samples with the same pixels become one image; `check_job` names the other one.

    Returns:
        The job; its result is the number of images listed.
    """
    digests: dict[str, str] = {}
    names = project.missing
    for number, sample in enumerate(names):
        yield Progress(number, len(names), "Listing the images", "images")
        try:
            digest = project.dataset.images[sample].digest
            digests[sample] = digest or pixel_digest(editing.read_pixels(project.dataset, sample))
        except SampathError:
            continue  # `check_job` and training name the reason.
    if not digests:
        return 0
    with project.editing() as draft:
        listed = {image.sample for image in draft.content.images.values()}
        duplicates = dict(draft.content.duplicates)
        count = 0
        for sample, digest in digests.items():
            entry = project.dataset.images.get(sample)
            if entry is None or sample in listed:
                continue
            if digest in draft.content.images:
                duplicates[sample] = digest
                continue
            name = free_name(sample, (image.name for image in draft.content.images.values()))
            now = datetime.now(UTC).isoformat(timespec="seconds")
            image = ProjectImage(digest, name, entry.hw, mpp=entry.mpp, sample=sample, added=now)
            draft.put(image)
            count += 1
        draft.content = replace(draft.content, duplicates=duplicates)
    return count


def check_job(project: Project, search: Iterable[Path] = ()) -> Job[ProjectCheck]:
    """Make a job that reads all images of a project and searches for missing ones.

    Args:
        project: The project.
        search: Folders in which missing files are searched, with their subfolders; a file is only taken if it has the
            same pixels. Found files are recorded in the project.

    Returns:
        The job.
    """
    from ...images import open_image

    missing: list[ProjectImage] = []
    changed: list[str] = []
    unreadable: dict[str, str] = {}
    images = list(project.images.values())
    for number, image in enumerate(images):
        yield Progress(number, len(images), "Checking the project", "images")
        path = project.file_of(image)
        if path is None:
            missing.append(image)
            continue
        try:
            with open_image(path) as opened:
                if pixel_digest(opened.pixels) != image.digest:
                    changed.append(image.name)
        except SampathError as error:
            unreadable[image.name] = str(error)
    found = (yield from _search_job(project, missing, search)) if missing else {}
    duplicates = []
    for sample, digest in project.duplicates.items():
        other = project.find(digest)
        if sample in project.dataset.images and other is not None:
            duplicates.append((sample, other.name))
    lost = tuple(image.name for image in missing if image.name not in found)
    return ProjectCheck(tuple(duplicates), lost, tuple(changed), unreadable, found)


def remove_duplicates(project: Project, check: ProjectCheck) -> int:
    """Remove the second training sample of images, and return their number; they go to the history of the dataset."""
    for sample, _ in check.duplicates:
        editing.remove_image(project.dataset, sample)
    return len(check.duplicates)


def _search_job(
    project: Project, missing: list[ProjectImage], search: Iterable[Path]
) -> Job[dict[str, Path]]:
    """Search for the files of images by name first, then by size, and compare the pixels."""
    from ...images import open_image

    wanted = {image.digest: image for image in missing}
    names = {Path(image.file).name.casefold() for image in missing}
    suffixes = {Path(image.file).suffix.casefold() for image in missing}
    candidates = sorted(
        _files(search, suffixes), key=lambda path: (path.name.casefold() not in names, str(path))
    )
    found: dict[str, Path] = {}
    for number, path in enumerate(candidates):
        yield Progress(number, len(candidates), "Searching for missing images", "files")
        try:
            with open_image(path) as opened:
                digest = pixel_digest(opened.pixels)
        except SampathError:
            continue
        image = wanted.pop(digest, None)
        if image is not None:
            relocate(project, image.digest, path)
            found[image.name] = path
        if not wanted:
            break
    return found


def relocate(project: Project, digest: str, path: Path) -> None:
    """Record another path of an image file with the same pixels."""
    file, relative = place(project.path, "", path)
    with project.editing() as draft:
        draft.put(replace(draft.image(digest), file=file, relative=relative))


def _files(folders: Iterable[Path], suffixes: set[str]) -> Iterator[Path]:
    for folder in folders:
        for place_, subfolders, names in os.walk(folder):
            for name in (*names, *(sub for sub in subfolders if sub.endswith(".zarr"))):
                if Path(name).suffix.casefold() in suffixes and not name.startswith("."):
                    yield Path(place_) / name
            subfolders[:] = [
                sub for sub in subfolders if not sub.startswith(".") and not sub.endswith(".zarr")
            ]
