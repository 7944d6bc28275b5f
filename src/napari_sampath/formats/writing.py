"""Export of annotations as label maps, outlines or OME-Zarr, with a `classes.json` for the folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, StorageError
from ..files import Write, locked, write_together
from ..rasters import check_pixels
from ..registry import lookup
from . import manifest
from .labels import (
    DETAILS,
    FORMATS,
    KINDS,
    OUTLINES,
    RASTERS,
    WHOLE,
    Labels,
    blocks,
    check_unique,
    file_name,
    numbers_in,
    renumber,
    used_ids,
)
from .maps import omezarr, pixels
from .objects import Objects
from .outlines import coco_writing, geojson

if TYPE_CHECKING:
    from ..arrays import ClassInfo
    from .labels import MapLike
    from .snapshot import Snapshot

_MAX_ID = 2**31 - 1
LOCK_S = 60.0
"""How long an export waits for another one into the same folder, in seconds."""


def export_labels(
    folder: str | Path, snapshot: Snapshot, formats: Sequence[str] = ("png", "tiff")
) -> list[Path]:
    """Write the annotations of one image.

    `<name>_classes.png` is indexed: its palette contains the class colours, and 0 is transparent.
    `<name>_instances.png` has 16 bits; if a number exceeds 65,535, the objects are renumbered 1, 2, 3 ... in all files
    of this export, in the same order. The TIFF files (losslessly compressed) contain the same maps as uint8 and uint16,
    or uint32 if a number exceeds 65,535. `<name>_details.json` contains the details of the objects in the label maps.
    `<name>_objects.coco.json` contains run lengths, `<name>_objects.polygons.coco.json` polygons,
    `<name>_objects.geojson` objects for QuPath and `<name>_objects.ome.zarr` both maps as NGFF 0.5 labels. Outlines
    exclude pixels without a class. `classes.json` is shared by all images of the folder; entries of other images are
    kept, even if several programs export at once. Either all files are replaced, or none.

    Args:
        folder: Created if missing.
        snapshot: The annotations; they replace an earlier export of an image of the same name. The image, the verified
            area and `mpp` are not written.
        formats: Some of `FORMATS`.

    Returns:
        The files written, `classes.json` last.

    Raises:
        ImageError: If the maps are inconsistent, or a format cannot store them.
        DuplicateNameError: If two classes share an id or a name.
        UnknownNameError: If there is no such format.
        StorageError: If a file cannot be written; an earlier export is untouched.
    """
    folder, name = Path(folder).expanduser(), snapshot.name
    formats = list(dict.fromkeys(formats))
    for format_name in formats or [""]:
        lookup("format", FORMATS, format_name)
    (class_map, instance_map), highest = _check_maps(snapshot.class_map, snapshot.instance_map)
    labels = Labels(class_map, instance_map, tuple(snapshot.classes or ()), snapshot.details)
    _check_classes(class_map, labels.classes)
    if "png" in formats:
        labels, highest = _fit_png(labels, name, highest)
    files, names = _files(folder, name, labels, highest, formats)
    with (
        locked(folder / manifest.MANIFEST, LOCK_S),
        _omezarr(folder, name, labels, "ome-zarr" in formats) as (extra, put_in_place),
    ):
        entries = manifest.load(folder / manifest.MANIFEST)
        names[WHOLE] += [path.name for path in extra]
        entries[name] = manifest.Entry(
            (labels.class_map.shape[0], labels.class_map.shape[1]), labels.classes, names
        )
        content = manifest.dump(entries)
        files[folder / manifest.MANIFEST] = lambda stream: stream.write(content)
        write_together(files)
        put_in_place()
    *written, last = files
    return [*written, *extra, last]


def _files(
    folder: Path, name: str, labels: Labels, highest: int, formats: list[str]
) -> tuple[dict[Path, Write], dict[str, list[str]]]:
    """Return the function that writes each file, and the file names by kind."""
    files: dict[Path, Write] = {}
    names: dict[str, list[str]] = {kind: [] for kind in (*KINDS, WHOLE)}
    for format_name in formats:
        if format_name in RASTERS:
            both = pixels.writers(format_name, labels.class_map, labels.instance_map, highest, labels.classes)
            for kind, write in zip(KINDS, both, strict=True):
                names[kind].append(file_name(name, kind, FORMATS[format_name]))
                files[folder / names[kind][-1]] = write
    if labels.details and any(format_name in RASTERS for format_name in formats):
        names[DETAILS] = [file_name(name, DETAILS, "json")]
        content = manifest.dump_details(labels.details)
        files[folder / names[DETAILS][0]] = lambda stream: stream.write(content)
    if outlines := [format_name for format_name in formats if format_name in OUTLINES]:
        objects = Objects.of(labels)
        for format_name in outlines:
            names[WHOLE].append(file_name(name, WHOLE, FORMATS[format_name]))
            files[folder / names[WHOLE][-1]] = _outline_writer(format_name, objects, name)
    return files, names


def _outline_writer(format_name: str, objects: Objects, name: str) -> Write:
    def write(stream: Any) -> None:
        if format_name == "geojson":
            stream.write(geojson.dump(objects, name))
        else:
            stream.write(coco_writing.dump(objects, name, polygons=format_name == "coco-polygons"))

    return write


@contextlib.contextmanager
def _omezarr(folder: Path, name: str, labels: Labels, enabled: bool) -> Iterator[tuple[list[Path], Any]]:
    """Write the OME-Zarr under a temporary name; yield its final path and a function that moves it there."""
    if not enabled:
        yield [], lambda: None
        return
    target = folder / file_name(name, WHOLE, FORMATS["ome-zarr"])
    temporary, old = (folder / f".{uuid.uuid4().hex}.part" for _ in range(2))

    def put_in_place() -> None:
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)

    try:
        omezarr.write(temporary, labels)
        yield [target], put_in_place
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"Could not write '{target}' ({error.strerror or error}); the earlier content is untouched: free some "
            "space or choose another folder."
        ) from error
    finally:
        for leftover in (temporary, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _check_maps(class_map: Any, instance_map: Any) -> tuple[tuple[Any, Any], int]:
    """Check the class and instance maps; return them and the highest object number."""
    if instance_map is None:
        instance_map = np.zeros(class_map.shape, dtype=np.uint8)
    maps = tuple(
        values if hasattr(values, "filled_boxes") else np.asarray(values)
        for values in (class_map, instance_map)
    )
    highest = 0
    for kind, values, limit in zip(("class", "instance"), maps, (255, _MAX_ID), strict=True):
        shape = tuple(values.shape)
        if len(shape) != 2 or 0 in shape or np.dtype(values.dtype).kind not in "bui":
            raise ImageError(
                f"The {kind} map has shape {shape} and type {values.dtype}; give whole numbers of shape (H, W)."
            )
        low = highest = 0
        for r0, c0, r1, c1 in blocks(values):
            part = np.asarray(values[r0:r1, c0:c1])
            low, highest = min(low, int(part.min())), max(highest, int(part.max()))
        if low < 0 or highest > limit:
            raise ImageError(
                f"The {kind} map has values from {low} to {highest}, but they must be from 0 to {limit}; renumber them."
            )
    if maps[0].shape != maps[1].shape:
        raise ImageError(
            f"The class map has shape {maps[0].shape} and the instance map {maps[1].shape}; give maps of the same "
            "shape."
        )
    if isinstance(maps[0], np.ndarray):
        return (maps[0].astype(np.uint8, copy=False), maps[1]), highest
    return (maps[0], maps[1]), highest


def _fit_png(labels: Labels, name: str, highest: int) -> tuple[Labels, int]:
    """Renumber the objects if their highest number exceeds 16 bits; return the labels and their highest number."""
    height, width = labels.class_map.shape
    try:
        check_pixels(height, width, name)
    except ImageError:
        raise ImageError(
            f"'{name}' is {width} x {height} px (width x height), too large for a PNG; export it as tiff, geojson or "
            "ome-zarr."
        ) from None
    if highest <= pixels.PNG_IDS:
        return labels, highest
    count = len(numbers_in(labels.instance_map))
    if count > pixels.PNG_IDS:
        raise ImageError(
            f"'{name}' has {count} objects, and a PNG holds at most {pixels.PNG_IDS}; export it as tiff."
        )
    instance_map, details = renumber(labels.instance_map, labels.details)
    return replace(labels, instance_map=instance_map, details=details), count


def _check_classes(class_map: MapLike, classes: Sequence[ClassInfo]) -> None:
    for info in classes:
        if not 0 <= info.id <= 255 or not all(0 <= part <= 255 for part in info.color):
            raise ImageError(
                f"The class '{info.name}' has id {info.id} and colour {info.color}; "
                "ids and colours range from 0 to 255: choose other values."
            )
    check_unique(classes, "The class list")
    ids = [info.id for info in classes]
    unknown = [value for value in used_ids(class_map) if value not in ids]
    if unknown:
        raise ImageError(
            f"The class map holds the value {unknown[0]}, which is the id of no class (ids: "
            f"{', '.join(map(str, ids)) or 'none'}); add a class with this id."
        )
