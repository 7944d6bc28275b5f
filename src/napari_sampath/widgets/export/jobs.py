"""Jobs of the Export dock; slow imports happen in the worker thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...jobs import Job, Progress

if TYPE_CHECKING:
    from ...annotations import Box
    from ...formats.layouts import ExportSettings
    from ...session import Project, Session
    from ...session.exports import DatasetExport, FolderExport
    from ...session.figures import FigureSettings
    from ...session.proposals.refining import Refinement


def export_project_job(
    save: Job[int] | None,
    project: Project,
    folder: Path,
    layout: str,
    sessions_dir: Path,
    settings: ExportSettings,
    update: bool,
) -> Job[DatasetExport]:
    """Make a job that saves unsaved changes (`save`) and exports a project; see `session.exports`."""
    from ...session.exports import export_dataset_job
    from ...training.data.dataset_report import check_folder_job

    yield Progress(0, 0, "Exporting the project")
    if save is not None:
        yield from save
    project.reload()
    return (
        yield from export_dataset_job(
            project, folder, layout, sessions_dir, settings, update, check_folder_job
        )
    )


def export_images_job(
    images: Path, folder: Path, formats: tuple[str, ...], sessions_dir: Path
) -> Job[FolderExport]:
    """Make a job that exports the annotated images of a folder; see `session.exports.export_folder_job`."""
    from ...session.exports import export_folder_job

    yield Progress(0, 0, "Exporting the folder")
    return (yield from export_folder_job(images, folder, formats, sessions_dir))


def figure_job(
    session: Session, box: Box, path: Path, settings: FigureSettings, hidden: frozenset[int] = frozenset()
) -> Job[tuple[Path, tuple[str, ...]]]:
    """Make a job that writes a figure of a part of an image; its result is the path and sentences for the user.

    Call it in the thread of the session; the job draws a fork of its document.

    Args:
        session: The session.
        box: The part (r0, c0, r1, c1) in image pixels.
        path: The file, `.png` or `.svg`.
        settings: What is drawn.
        hidden: Classes that are not drawn.
    """
    image, document, name, mpp = session.image, session.document.fork(), session.name, session.files.mpp

    def draw() -> Job[tuple[Path, tuple[str, ...]]]:
        from ...session.figures import make_figure, write_figure

        yield Progress(0, 0, "Drawing the figure")
        figure = make_figure(image, document, box, name, mpp, settings, hidden)
        write_figure(path, figure)
        return path, figure.notes

    return draw()


def report_project_job(
    save: Job[int] | None, project: Project, target: Path, sessions_dir: Path
) -> Job[Path]:
    """Make a job that saves unsaved changes (`save`) and writes the report of a project."""
    from ...session.report import report_job

    yield Progress(0, 0, "Writing the report")
    if save is not None:
        yield from save
    project.reload()
    return (yield from report_job(project, target, sessions_dir))


def refine_objects_job(job: Job[Refinement]) -> Job[Refinement]:
    """Make a job that imports the model's library in the worker thread before it refines objects."""
    from ..background.native_libraries import import_triton_isolated

    yield Progress(0, 0, "Refining the objects")
    import_triton_isolated()
    return (yield from job)
