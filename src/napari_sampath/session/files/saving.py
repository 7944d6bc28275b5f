"""Jobs that bring annotations from files, and write a session's elsewhere: exports, and training samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...annotations import AnnotatedObject, Box, Document
from ...arrays import BoolArray, ClassInfo, IntArray, UInt8Array
from ...errors import DatasetError
from ...jobs import Job, Progress
from ...rasters import MAX_PIXELS
from ..proposals.components import Components, check_size, from_objects

if TYPE_CHECKING:
    from ...formats.dataset.manifest import DatasetImage


def details_of(record: AnnotatedObject) -> dict[str, Any]:
    """Return what formats keep of an annotation besides its class and pixels; `components` reads it again."""
    known = {
        "source": record.source,
        "score": record.score,
        "model": record.model,
        "prompts": _plain_prompts(record.prompts) or None,
        "created": record.created,
        "modified": record.modified,
        "reviewed": record.reviewed or None,
        "unsure": record.unsure or None,
    }
    return {key: value for key, value in known.items() if value is not None}


def _plain_prompts(prompts: Mapping[str, Any]) -> dict[str, Any]:
    """Write {"points": [[x, y, positive], ...], "box": [x0, y0, x1, y1], "mask": True}, less what was not given."""
    pairs = zip(prompts.get("points", ()), prompts.get("labels", ()), strict=False)
    points = [[x, y, bool(label)] for (x, y), label in pairs]
    given = {"points": points, "box": prompts.get("box"), "mask": prompts.get("mask")}
    return {key: value for key, value in given.items() if value}


def export_job(folder: Path, name: str, document: Document, formats: tuple[str, ...]) -> Job[list[Path]]:
    """Make a job that exports a document as it is at this moment; it runs in any thread."""
    details = {one.id: details_of(one) for one in document.objects.values()}
    return _export(folder, name, document.snapshot(), document.classes.snapshot, formats, details)


def _export(
    folder: Path,
    name: str,
    maps: tuple[Any, Any],
    classes: tuple[ClassInfo, ...],
    formats: tuple[str, ...],
    details: dict[int, dict[str, Any]],
) -> Job[list[Path]]:
    from ...formats import export_labels

    yield Progress(0, 1, "Exporting annotations", "images")
    files = export_labels(folder, name, *maps, classes, formats, details)
    yield Progress(1, 1, "Exporting annotations", "images")
    return files


def read_job(path: Path, name: str, hw: tuple[int, int]) -> Job[Components]:
    """Make a job that reads annotations of any format of `formats`; it runs in any thread.

    Args:
        path: The file or folder.
        name: Name of the image, where it holds several.
        hw: Size (H, W) of the image.

    Raises:
        SampathError: If it cannot be read, or is not of the image's size.
    """
    from ...formats import import_objects

    yield Progress(0, 1, f"Reading {path.name}", "files")
    found = import_objects(path, name, hw)
    check_size(found.hw, hw, f"The label map in '{path}'")
    return from_objects(found)


def save_job(
    folder: Path, image: UInt8Array, name: str, document: Document, group: str, mpp: float | None
) -> Job[DatasetImage]:
    """Make a job that saves a document as it is at this moment as a training sample; it runs in any thread."""
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise DatasetError(f"'{name}' is too large for a training sample; save a region of it.")
    maps, annotated = document.snapshot(), document.verified_snapshot()
    details = {one.id: details_of(one) for one in document.objects.values()}
    # A class that nobody has used yet, such as the first one of every session, is no class of the dataset.
    used = {one.class_id for one in document.objects.values()}
    classes = tuple(info for info in document.classes if info.id in used)
    return _save(folder, image, name, maps, annotated, classes, group, mpp, details)


def _save(
    folder: Path,
    image: UInt8Array,
    name: str,
    maps: tuple[Any, Any],
    annotated: Callable[[Box], BoolArray],
    classes: tuple[ClassInfo, ...],
    group: str,
    mpp: float | None,
    details: dict[int, dict[str, Any]],
) -> Job[DatasetImage]:
    from ...formats import DatasetFolder

    yield Progress(0, 1, "Saving the training sample", "images")
    if DatasetFolder.exists(folder):
        dataset = DatasetFolder.open(folder)
    else:
        dataset = DatasetFolder.create(folder, classes)
    instances, details = _fitting(np.asarray(maps[1]), details)
    entry = dataset.save_image(
        name,
        image,
        np.asarray(maps[0]),
        instances,
        annotated((0, 0, image.shape[0], image.shape[1])),
        group=group,
        mpp=mpp,
        provenance={"annotations": {str(number): known for number, known in details.items()}},
        classes=classes,
        apart=True,
    )
    yield Progress(1, 1, "Saving the training sample", "images")
    return entry


def _fitting(
    instances: IntArray, details: dict[int, dict[str, Any]]
) -> tuple[IntArray, dict[int, dict[str, Any]]]:
    """Number objects from 1 without gaps, with what is known of them, if their ids have grown beyond 16 bits."""
    from ...formats.labels import numbers_in, renumbered

    if int(instances.max(initial=0)) < 2**16:
        return instances, details
    numbers = numbers_in(instances)
    known = {new: details[old] for new, old in enumerate(numbers.tolist(), start=1) if old in details}
    return renumbered(instances, numbers), known
