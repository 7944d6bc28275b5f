"""Jobs that import and export objects and save training samples; they can run in any thread."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...annotations import AnnotatedObject, Box, Document, pixel_digest
from ...annotations.model.classes import FIRST_CLASS
from ...arrays import BoolArray, ClassInfo, UInt8Array
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
        "made_by": obj.made_by,
        "changed_by": obj.changed_by,
    }
    return {key: value for key, value in details.items() if value is not None}


def _prompts(prompts: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"points": [[x, y, positive], ...], "box": [x0, y0, x1, y1], "mask": True} without empty entries."""
    pairs = zip(prompts.get("points", ()), prompts.get("labels", ()), strict=False)
    points = [[x, y, bool(label)] for (x, y), label in pairs]
    entries = {"points": points, "box": prompts.get("box"), "mask": prompts.get("mask")}
    return {key: value for key, value in entries.items() if value}


@dataclass(frozen=True, slots=True, eq=False)
class ExportedImage:
    """Properties of an image that files state besides its labels."""

    name: str
    """Name of the image, without the ending of its file."""
    file_name: str = ""
    """Name of the image file with its ending; empty if unknown."""
    pixels: UInt8Array | None = None
    """(H, W, 3) uint8 RGB; None if the formats do not need it."""
    digest: str = ""
    """`pixel_digest` of the pixels; computed from them by default."""
    mpp: float | None = None
    """Micrometres per pixel, if known."""


def export_job(
    folder: Path,
    image: ExportedImage,
    document: Document,
    formats: tuple[str, ...],
    notes: list[str] | None = None,
    beside: Sequence[Sequence[ClassInfo]] = (),
) -> Job[list[Path]]:
    """Make a job that exports the current state of a document; see `formats.export_labels`."""
    details = {obj.id: details_of(obj) for obj in document.objects.values()}
    used = {obj.class_id for obj in document.objects.values()}
    # The initial class of every session is not exported if it is unused, because another class may have its number.
    listed = [info for info in document.classes.snapshot if info != FIRST_CLASS or info.id in used]
    classes = tuple(listed) or document.classes.snapshot
    maps = document.snapshot()
    file = Path(image.file_name)
    # A renamed image is exported under its current name only.
    file_name = image.file_name if file.stem == image.name else f"{image.name}{file.suffix}" * bool(file.name)
    snapshot = Snapshot(
        image.name,
        image.pixels,
        *maps,
        classes=classes,
        details=details,
        mpp=image.mpp,
        file_name=file_name,
        digest=image.digest,
    )
    return _export(folder, snapshot, formats, notes, beside)


def _export(
    folder: Path,
    snapshot: Snapshot,
    formats: tuple[str, ...],
    notes: list[str] | None,
    beside: Sequence[Sequence[ClassInfo]],
) -> Job[list[Path]]:
    yield Progress(0, 1, "Exporting annotations", "images")
    if snapshot.image is not None and not snapshot.digest:
        snapshot = dataclasses.replace(snapshot, digest=pixel_digest(snapshot.image))
    files = export_labels(folder, snapshot, formats, notes, beside)
    yield Progress(1, 1, "Exporting annotations", "images")
    return files


def save_job(
    folder: Path,
    image: UInt8Array,
    name: str,
    document: Document,
    group: str,
    mpp: float | None,
    digest: str = "",
) -> Job[DatasetImage]:
    """Make a job that saves the current state of a document as a training sample; see `SessionFiles.save_job`."""
    if image.shape[0] * image.shape[1] > MAX_PIXELS:
        raise DatasetError(f"'{name}' is too large for a training sample; save a region of it.")
    maps, verified_in = document.snapshot(), document.verified_snapshot()
    details = {obj.id: details_of(obj) for obj in document.objects.values()}
    # Unused classes, such as the initial class of every session, are not added to the dataset.
    used = {obj.class_id for obj in document.objects.values()}
    classes = tuple(info for info in document.classes if info.id in used)
    snapshot = Snapshot(name, image, *maps, classes=classes, details=details, mpp=mpp, digest=digest)
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
