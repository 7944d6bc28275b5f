"""Jobs that bring annotations from files, and write a session's elsewhere: exports, and training samples."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..annotations import Annotation, Box, Document
from ..arrays import BoolArray, ClassInfo, IntArray, UInt8Array
from ..errors import DatasetError
from ..jobs import Job, Progress
from ..rasters import MAX_PIXELS
from .components import Components, check_size, from_objects

if TYPE_CHECKING:
    from ..formats.dataset_manifest import DatasetImage


def details_of(record: Annotation) -> dict[str, Any]:
    """Return what formats keep of an annotation besides its class and pixels."""
    known = {"source": record.source, "score": record.score, "model": record.model, "created": record.created}
    flags = {"reviewed": record.reviewed or None, "unsure": record.unsure or None}
    return {key: value for key, value in (known | flags).items() if value is not None}


def export_job(folder: Path, name: str, document: Document, formats: tuple[str, ...]) -> Job[list[Path]]:
    """Make a job that exports a document as it is at this moment; it runs in any thread."""
    details = {one.id: details_of(one) for one in document.annotations.values()}
    return _export(folder, name, document.snapshot(), document.classes.snapshot, formats, details)


def _export(
    folder: Path,
    name: str,
    maps: tuple[Any, Any],
    classes: tuple[ClassInfo, ...],
    formats: tuple[str, ...],
    details: dict[int, dict[str, Any]],
) -> Job[list[Path]]:
    from ..formats import export_labels

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
    from ..formats import import_objects

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
    maps, annotated = document.snapshot(), document.annotated_snapshot()
    provenance = {
        "annotations": {str(one.id): details_of(one) for one in document.annotations.values()},
    }
    # A class that nobody has used yet, such as the first one of every session, is no class of the dataset.
    used = {one.class_id for one in document.annotations.values()}
    classes = tuple(info for info in document.classes if info.id in used)
    return _save(folder, image, name, maps, annotated, classes, group, mpp, provenance)


def _save(
    folder: Path,
    image: UInt8Array,
    name: str,
    maps: tuple[Any, Any],
    annotated: Callable[[Box], BoolArray],
    classes: tuple[ClassInfo, ...],
    group: str,
    mpp: float | None,
    provenance: dict[str, Any],
) -> Job[DatasetImage]:
    from ..formats import DatasetFolder

    yield Progress(0, 1, "Saving the training sample", "images")
    if DatasetFolder.exists(folder):
        dataset = DatasetFolder.open(folder)
    else:
        dataset = DatasetFolder.create(folder, classes)
    entry = dataset.save_image(
        name,
        image,
        np.asarray(maps[0]),
        _renumbered(np.asarray(maps[1])),
        annotated((0, 0, image.shape[0], image.shape[1])),
        group=group,
        mpp=mpp,
        provenance=provenance,
        classes=classes,
        apart=True,
    )
    yield Progress(1, 1, "Saving the training sample", "images")
    return entry


def _renumbered(instances: IntArray) -> IntArray:
    """Number objects from 1 without gaps if their ids have grown beyond 16 bits."""
    from ..formats.labels import numbers_in, renumbered

    if int(instances.max(initial=0)) < 2**16:
        return instances
    return renumbered(instances, numbers_in(instances))
