"""Jobs that import and export objects and save training samples; they can run in any thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...annotations import AnnotatedObject, Box, Document
from ...arrays import BoolArray, UInt8Array
from ...errors import DatasetError
from ...formats import DatasetFolder, Snapshot, export_labels
from ...formats.dataset.manifest import DatasetImage
from ...formats.labels import renumber
from ...jobs import Job, Progress
from ...rasters import MAX_PIXELS


def details_of(obj: AnnotatedObject) -> dict[str, Any]:
    """Return the fields of an object that file formats store besides class and pixels; `new_objects` reads them."""
    details = {
        "source": obj.source,
        "score": obj.score,
        "model": obj.model,
        "prompts": _prompts(obj.prompts) or None,
        "created": obj.created,
        "modified": obj.modified,
        "reviewed": obj.reviewed or None,
        "unsure": obj.unsure or None,
    }
    return {key: value for key, value in details.items() if value is not None}


def _prompts(prompts: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"points": [[x, y, positive], ...], "box": [x0, y0, x1, y1], "mask": True} without empty entries."""
    pairs = zip(prompts.get("points", ()), prompts.get("labels", ()), strict=False)
    points = [[x, y, bool(label)] for (x, y), label in pairs]
    entries = {"points": points, "box": prompts.get("box"), "mask": prompts.get("mask")}
    return {key: value for key, value in entries.items() if value}


def export_job(folder: Path, name: str, document: Document, formats: tuple[str, ...]) -> Job[list[Path]]:
    """Make a job that exports the current state of a document."""
    details = {obj.id: details_of(obj) for obj in document.objects.values()}
    classes, maps = document.classes.snapshot, document.snapshot()
    return _export(folder, Snapshot(name, None, *maps, classes=classes, details=details), formats)


def _export(folder: Path, snapshot: Snapshot, formats: tuple[str, ...]) -> Job[list[Path]]:
    yield Progress(0, 1, "Exporting annotations", "images")
    files = export_labels(folder, snapshot, formats)
    yield Progress(1, 1, "Exporting annotations", "images")
    return files


def save_job(
    folder: Path, image: UInt8Array, name: str, document: Document, group: str, mpp: float | None
) -> Job[DatasetImage]:
    """Make a job that saves the current state of a document as a training sample; see `SessionFiles.save_job`."""
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise DatasetError(f"'{name}' is too large for a training sample; save a region of it.")
    maps, verified_in = document.snapshot(), document.verified_snapshot()
    details = {obj.id: details_of(obj) for obj in document.objects.values()}
    # Unused classes, such as the initial class of every session, are not added to the dataset.
    used = {obj.class_id for obj in document.objects.values()}
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
