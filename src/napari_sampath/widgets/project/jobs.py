"""Jobs of the Project dock; slow imports happen in the worker thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...jobs import Job, Progress

if TYPE_CHECKING:
    from ...session import Project
    from ...session.project.checking import ProjectCheck
    from ...session.project.merging import MergeResult


def check_project_job(project: Project, search: Path | None) -> Job[ProjectCheck]:
    """Make a job that checks a project; missing images are searched in the folder `search`."""
    from ...session.project.checking import check_job

    yield Progress(0, 0, "Checking the project")
    return (yield from check_job(project, () if search is None else (search,)))


def pack_project_job(save: Job[int] | None, project: Project, target: Path, sessions_dir: Path) -> Job[Path]:
    """Make a job that saves unsaved changes (`save`) and packs a project."""
    from ...session.project.sharing import pack_job

    if save is not None:
        yield from save
    return (yield from pack_job(project, target, sessions_dir))


def unpack_project_job(source: Path, folder: Path, sessions_dir: Path) -> Job[Project]:
    """Make a job that unpacks a project from a zip file."""
    from ...session.project.sharing import unpack_job

    yield Progress(0, 0, "Unpacking the project")
    return (yield from unpack_job(source, folder, sessions_dir))


def remove_duplicates_job(project: Project, check: ProjectCheck) -> Job[int]:
    """Make a job that removes the second training sample of images; its result is the number of removed samples."""
    from ...session.project.checking import remove_duplicates

    yield Progress(0, 0, "Removing the duplicates")
    return remove_duplicates(project, check)


def merge_project_job(project: Project, source: Path, sessions_dir: Path) -> Job[MergeResult]:
    """Make a job that merges another project."""
    from ...session.project.merging import merge_job

    yield Progress(0, 0, "Merging the project")
    return (yield from merge_job(project, source, sessions_dir))
