"""Export of all images of a project as a training dataset in the layout of another program."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ...arrays import ClassInfo
from ...errors import DatasetError, SampathError
from ...files import file_stem, free_name, write_atomically
from ...formats.layouts.folder import ExportFolder, check_folder, open_folder, read_record
from ...formats.layouts.layout import Layout, find_layout, index_of, index_row
from ...formats.layouts.patches import no_pixels, samples_of
from ...formats.layouts.settings import IGNORE, ExportSettings
from ...formats.layouts.writer import LayoutWriter
from ...jobs import Job, Progress
from ..project.content import ProjectImage
from ..project.exporting import annotated, classes_in_use, images_with_files
from ..project.project import Project
from .annotated_image import SessionImage
from .readme import CHECK, README, readme
from .result import DatasetExport
from .splits import split_slides

CheckJob = Callable[[Path], Job[str]]
"""Makes a job that checks a dataset folder and describes it."""


def saved_settings(folder: Path) -> tuple[str, ExportSettings] | None:
    """Return the layout and settings of an earlier export; None if the folder has none.

    Raises:
        DatasetError: If its record is damaged.
    """
    record = read_record(folder.expanduser())
    if record is None:
        return None
    try:
        known = {entry.name for entry in fields(ExportSettings)}
        values = {key: value for key, value in record["settings"].items() if key in known}
        return find_layout(record["layout"]).name, ExportSettings(**values)
    except (SampathError, LookupError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"The record of the export in '{folder}' is damaged; choose a new folder."
        ) from error


def export_dataset_job(
    project: Project,
    folder: Path,
    layout: str,
    sessions_dir: Path,
    settings: ExportSettings | None = None,
    update: bool = False,
    check: CheckJob | None = None,
) -> Job[DatasetExport]:
    """Make a job that exports the images of a project as one dataset, with a README and the result of its check.

    Args:
        project: The project.
        folder: A new or empty folder, or with `update` that of an earlier export.
        layout: Name of a layout, see `formats.layouts.LAYOUTS`.
        sessions_dir: Folder of the journals.
        settings: What is exported and how; the default exports all images as they are.
        update: Replace an earlier export: files that are the same are kept, those of images that are gone deleted.
        check: Makes the job that checks the exported dataset, see `training.data.dataset_report`.

    Raises:
        UnknownNameError: If there is no such layout.
        DatasetError: If the folder has other files, nothing can be exported, or the layout cannot ignore pixels.
        StorageError: If a file cannot be written; an earlier export has not changed.
    """
    chosen, settings = find_layout(layout), settings or ExportSettings()
    if settings.unverified == IGNORE and not chosen.can_ignore:
        raise DatasetError(
            f"The layout '{layout}' cannot mark ignored pixels; choose 'masks' or 'nnunet', or unverified 'background'."
        )
    folder = folder.expanduser()
    earlier = check_folder(folder, update) or {}
    result = DatasetExport(layout, folder)
    is_same_split = earlier.get("settings", {}).get("split") == settings.split
    kept = earlier.get("splits", {}) if is_same_split else {}
    result.splits = split_slides(project, project.images.values(), settings, kept)
    result.classes = classes_in_use(project, sessions_dir)
    with open_folder(folder, update) as out:
        writer = chosen.make(out, result.classes, project.name, settings.unverified == IGNORE)
        yield from _write_job(project, writer, out, sessions_dir, settings, result)
        if not result.files:
            raise DatasetError(_nothing(result, settings))
        _finish(project, chosen, writer, out, settings, result)
    if check is not None:
        result.check = yield from check(folder / writer.root)
        text = (result.check.rstrip() + "\n").encode("utf-8", "surrogatepass")
        write_atomically(folder / CHECK, lambda stream: stream.write(text))
    return result


def _write_job(
    project: Project,
    writer: LayoutWriter,
    out: ExportFolder,
    sessions_dir: Path,
    settings: ExportSettings,
    result: DatasetExport,
) -> Job[None]:
    rows: list[dict[str, Any]] = []
    stems: set[str] = set()
    unknown = total = 0
    count = len(project.images)
    for number, image, path in images_with_files(project, result.skipped):
        yield Progress(number, count, f"Exporting {image.name}", "images")
        with ExitStack() as opened:
            try:
                session = opened.enter_context(annotated(project, image, path, sessions_dir, result.classes))
                source = SessionImage(session, image.mpp, settings.reviewed_only)
                if not source.classes and not session.document.verified_map.any():
                    result.skipped[image.name] = "it has no annotations"
                    continue
                for step, sample in enumerate(_samples(project, image, source, settings, result, stems)):
                    if step % 20 == 19:  # Each `yield` is a point at which the job can be cancelled.
                        yield Progress(number, count, f"Exporting {image.name}", "images")
                    if sample is not None:
                        writer.add(sample)
                        rows.append(index_row(sample))
                        result.files[sample.split] = result.files.get(sample.split, 0) + 1
                        result.images[image.name] = sample.split
                        unknown, total = unknown + int(sample.unknown.sum()), total + sample.unknown.size
                _count(result.classes, image.name, source, result)
            except SampathError as error:
                if image.name in result.images:  # Some of its files are written already.
                    raise
                result.skipped[image.name] = str(error)
        if image.name not in result.images and image.name not in result.skipped:
            result.skipped[image.name] = "no image or patch of it is completely verified"
    result.unknown_share = unknown / total if total else 0.0
    if rows:
        out.write(f"{writer.root}/index.csv".lstrip("/"), index_of(rows))


def _samples(
    project: Project,
    image: ProjectImage,
    source: SessionImage,
    settings: ExportSettings,
    result: DatasetExport,
    stems: set[str],
) -> Any:
    slide = project.slide_of(image)
    stem = free_name(file_stem(image.name), stems)
    stems.add(stem)
    template = no_pixels(stem, result.splits[slide], slide, image.name, result.classes)
    return samples_of(source, template, settings, result.cut)


def _count(classes: tuple[ClassInfo, ...], name: str, source: SessionImage, result: DatasetExport) -> None:
    """Count the exported objects of an image by class, and those that nobody reviewed."""
    names = {info.id: info.name for info in classes}
    exported = {number for image, number in result.cut.exported if image == name}
    for number in exported:
        label = names[source.classes[number]]
        result.objects[label] = result.objects.get(label, 0) + 1
    if exported:
        result.unsure += source.unsure
        result.unreviewed += len(exported & source.unreviewed)


def _finish(
    project: Project,
    layout: Layout,
    writer: LayoutWriter,
    out: ExportFolder,
    settings: ExportSettings,
    result: DatasetExport,
) -> None:
    result.remarks = list(writer.finish())
    out.write(README, readme(project, layout, settings, result).encode("utf-8", "surrogatepass"))
    record = {
        "program": "napari-sampath",
        "project": project.name,
        "layout": layout.name,
        "settings": asdict(settings),
        "splits": result.splits,
    }
    result.changes = out.commit(record)


def _nothing(result: DatasetExport, settings: ExportSettings) -> str:
    if not result.skipped:
        return "The project has no images; add images, or choose another project."
    name, reason = next(iter(result.skipped.items()))
    more = f", and {len(result.skipped) - 1} more" if len(result.skipped) > 1 else ""
    reasons = f"'{name}': {reason.rstrip('.')}{more}"
    return f"Nothing can be exported ({reasons}); annotate the images, or choose other settings."
