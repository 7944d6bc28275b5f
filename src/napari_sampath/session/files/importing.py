"""Reading of annotation files for a session, and notes for the user about the objects that are imported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...annotations import Document
from ...errors import ImageError, PromptError
from ...formats import ReadOptions, import_objects
from ...jobs import Job, Progress
from ..prompts.tile_cache import TileFeatures
from ..proposals.answering import answer_points_job
from ..proposals.new_objects import NewObjects, check_size, from_file, match_classes


def read_job(
    path: Path,
    name: str,
    hw: tuple[int, int],
    options: ReadOptions | None = None,
    tiles: TileFeatures | None = None,
) -> Job[NewObjects]:
    """Make a job that reads the objects of one image in any format of `formats`.

    Args:
        path: The file or folder.
        name: Name of the image, to find it in a file of several images; that of `options` has precedence.
        hw: Size (H, W) of the image.
        options: Choices where the file can be read in several ways.
        tiles: The encoded tiles of the image, for points that are prompts.

    Raises:
        ImportChoiceError: If the file can be read in several ways, and `options` does not specify which one is meant.
        PromptError: If there are points to outline, and no model that does it.
        SampathError: If the file cannot be read, has no objects, or is for an image of another size.
    """
    yield Progress(0, 1, f"Reading {path.name}", "files")
    options = options or ReadOptions()
    content = import_objects(path, options.image_name or name, hw, options)
    check_size(content.hw, hw, f"The label map in '{path}'")
    if not content.items and not content.points:
        raise ImageError(f"'{path}' has no objects; choose another file.")
    new = replace(from_file(content), notes=content.notes)
    if not new.points:
        return new
    if tiles is None:
        raise PromptError("No model is loaded that could outline objects at the points; choose a model.")
    return (yield from answer_points_job(new, hw, tiles))


def notes_of(document: Document, new: NewObjects) -> tuple[str, ...]:
    """Return notes for the user about the objects of a file before they are added to a document.

    Returns:
        The notes of the file, the classes that get another number, and how many existing objects are covered.
    """
    _, _, numbers = match_classes(new, document.classes, document)
    touched: set[int] = set()
    for obj in new.objects:
        touched.update(document.counts_under(obj.mask))
    covered: tuple[str, ...] = ()
    if touched:
        noun = "object of the image was" if len(touched) == 1 else "objects of the image were"
        covered = (f"{len(touched):,} {noun} overwritten by imported objects.",)
    return (*new.notes, *numbers, *covered)
