"""Export of all annotated images of a folder and its subfolders, each into the subfolder of the same name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...annotations import pixel_digest
from ...errors import ImageError, JournalError
from ...formats import DatasetFolder
from ...formats.manifest import MANIFEST, class_lists, manifests_below
from ...images import ImageListing, list_images, open_image
from ...images.slides import Slide
from ...jobs import Job, Progress, run
from ..files.saving import ExportedImage, export_job
from ..journals import has_annotations, journal_path
from ..project.journals import read_document


@dataclass(slots=True)
class FolderExport:
    """What was exported from a folder of images."""

    folder: Path
    """Folder of the exported files."""
    images: dict[str, int] = field(default_factory=dict)
    """Path of each exported image in the folder of images, with "/" -> number of objects."""
    files: list[Path] = field(default_factory=list)
    not_annotated: int = 0
    """Number of images that were never annotated on this machine."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Path of each image that could not be read -> reason, one sentence."""
    notes: list[str] = field(default_factory=list)
    """Sentences about what the formats do not keep, each with the path of its image, and about files left out."""


def export_folder_job(
    images: Path, folder: Path, formats: Sequence[str], sessions_dir: Path
) -> Job[FolderExport]:
    """Make a job that exports the annotated images of a folder and its subfolders.

    `images/a/tile.png` is exported to `folder/a`, so that images of the same name in two subfolders stay apart. A class
    has the same number in all subfolders.

    Args:
        images: Folder of images, as `images.list_images` lists them.
        folder: Folder to write to; files of earlier exports of the same images are replaced.
        formats: Names of formats that can be written, see `formats.registry.writable`.
        sessions_dir: Folder of the journals.

    Raises:
        ImageError: If there is no such folder, or no image in it is annotated.
        StorageError: If a file cannot be written.
    """
    images, folder = (Path(os.path.abspath(path.expanduser())) for path in (images, folder))
    result = FolderExport(folder)
    paths = [path for listing in _listings(images, folder, result) for path in listing.paths]
    tables = {file.parent: class_lists(file.parent) for file in [folder / MANIFEST, *manifests_below(folder)]}
    for number, path in enumerate(paths):
        name = path.relative_to(images)
        yield Progress(number, len(paths), f"Exporting {name}", "images")
        target = folder / name.parent
        beside = [classes for other, lists in tables.items() if other != target for classes in lists]
        try:
            with open_image(path) as image:
                if not has_annotations(image.pixels, sessions_dir):
                    result.not_annotated += 1
                    continue
                document = read_document(journal_path(image.pixels, sessions_dir))
                source: Any = image.pixels
                pixels = None if isinstance(source, Slide) else source
                about = ExportedImage(image.name, path.name, pixels, pixel_digest(image.pixels), image.mpp)
                notes: list[str] = []
                job = export_job(target, about, document, tuple(formats), notes, beside)
                result.files += run(job)
                result.notes += (f"{name.as_posix()}: {note}" for note in notes)
        except (ImageError, JournalError) as error:
            result.skipped[name.as_posix()] = str(error)
            continue
        result.images[name.as_posix()] = len(document.objects)
        tables[target] = class_lists(target)
    if not result.images:
        raise ImageError(_nothing(images, len(paths), result))
    return result


def _listings(images: Path, output: Path, result: FolderExport) -> Iterator[ImageListing]:
    """List a folder and its subfolders, except hidden folders, datasets and the output; note what is left out."""
    yield _noted(list_images(images, slides=True), result)
    for parent, folders, _ in os.walk(images):
        folders[:] = sorted(name for name in folders if _is_searched(Path(parent, name), output))
        for name in folders:
            folder = Path(parent, name)
            try:
                yield _noted(list_images(folder, slides=True), result)
            except ImageError as error:
                result.skipped[folder.relative_to(images).as_posix()] = str(error)


def _noted(listing: ImageListing, result: FolderExport) -> ImageListing:
    result.notes += [listing.doubt] if listing.doubt else []
    return listing


def _is_searched(folder: Path, output: Path) -> bool:
    return (
        not folder.name.startswith(".")
        and folder.suffix != ".zarr"
        and folder != output
        and not DatasetFolder.exists(folder)
    )


def _nothing(images: Path, count: int, result: FolderExport) -> str:
    if result.skipped:
        name, reason = next(iter(result.skipped.items()))
        return f"Nothing in '{images}' can be exported; '{name}' was left out: {reason}"
    return f"No image in '{images}' (of {count}) was annotated on this machine; annotate one, or choose another folder."
