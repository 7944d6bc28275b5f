"""Jobs that bring annotations from files, and write a session's elsewhere: exports, and training samples."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...annotations import AnnotatedObject, Box, Document
from ...arrays import BoolArray, UInt8Array
from ...errors import DatasetError
from ...formats import DatasetFolder, Snapshot, export_labels, import_objects
from ...formats.labels import renumber
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
    classes, maps = document.classes.snapshot, document.snapshot()
    return _export(folder, Snapshot(name, None, *maps, classes=classes, details=details), formats)


def _export(folder: Path, snapshot: Snapshot, formats: tuple[str, ...]) -> Job[list[Path]]:
    yield Progress(0, 1, "Exporting annotations", "images")
    files = export_labels(folder, snapshot, formats)
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
    maps, verified_in = document.snapshot(), document.verified_snapshot()
    details = {one.id: details_of(one) for one in document.objects.values()}
    # A class that nobody has used yet, such as the first one of every session, is no class of the dataset.
    used = {one.class_id for one in document.objects.values()}
    classes = tuple(info for info in document.classes if info.id in used)
    snapshot = Snapshot(name, image, *maps, classes=classes, details=details, mpp=mpp)
    return _save(folder, snapshot, verified_in, group)


def _save(
    folder: Path, snapshot: Snapshot, verified_in: Callable[[Box], BoolArray], group: str
) -> Job[DatasetImage]:
    yield Progress(0, 1, "Saving the training sample", "images")
    if DatasetFolder.exists(folder):
        dataset = DatasetFolder.open(folder)
    else:
        dataset = DatasetFolder.create(folder, snapshot.classes or ())
    instance_map, details = np.asarray(snapshot.instance_map), snapshot.details
    if int(instance_map.max(initial=0)) >= 2**16:
        instance_map, details = renumber(instance_map, details)
    verified = verified_in((0, 0, *instance_map.shape))
    provenance = {"annotations": {str(number): values for number, values in details.items()}}
    snapshot = dataclasses.replace(snapshot, instance_map=instance_map, verified=verified)
    entry = dataset.save_image(snapshot, group, provenance, rename=True)
    yield Progress(1, 1, "Saving the training sample", "images")
    return entry
