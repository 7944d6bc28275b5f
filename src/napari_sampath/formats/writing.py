"""Export of annotations as label maps, outlines or OME-Zarr, with a `classes.json` for the folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError
from ..files import Write, WriteFolder, file_stem, free_name, locked, name_key, remove_staged, write_together
from ..rasters import check_pixels
from ..registry import lookup
from . import manifest
from .labels import FORMATS, Labels, blocks, check_unique, numbers_in, renumber, used_ids
from .maps import pixels
from .outputs import Output, outputs

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
        snapshot: The annotations; they replace an earlier export of the same image. The files of another image of the
            same name are kept, and the names of the new files get a number, such as "tile (2)_classes.png". The image,
            the verified area and `mpp` are not written.
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
    hw = (int(labels.class_map.shape[0]), int(labels.class_map.shape[1]))
    with locked(folder / manifest.MANIFEST, LOCK_S):
        entries = manifest.load(folder / manifest.MANIFEST)
        key = manifest.find_same(entries, name, snapshot.digest, hw)
        before = None if key is None else entries[key]
        stem = _free_stem(folder, entries, name, labels, formats) if before is None else before.stem
        written = outputs(labels, highest, name, stem, formats)
        remove_staged(dict.fromkeys((folder / file.path).parent for file in written))
        entry = manifest.Entry(
            hw, labels.classes, _files_by_kind(folder, written, before), stem, name, snapshot.digest
        )
        entries[key or free_name(name, entries)] = entry
        content = manifest.dump(entries)
        files: dict[Path, Write] = {folder / file.path: file.write for file in written if file.write}
        folders: dict[Path, WriteFolder] = {
            folder / file.path: file.write_folder for file in written if file.write_folder
        }
        files[folder / manifest.MANIFEST] = lambda stream: stream.write(content)
        write_together(files, folder, folders)
    return [*(folder / file.path for file in written), folder / manifest.MANIFEST]


def _free_stem(
    folder: Path, entries: Mapping[str, manifest.Entry], name: str, labels: Labels, formats: list[str]
) -> str:
    """Return the stem of the files of an image that is not in `classes.json` yet, such as "tile (2)".

    Files of another image, and files that are not from an export of this folder, are not replaced.
    """
    taken = [entry.stem for entry in entries.values()]
    while True:
        stem = free_name(file_stem(name), taken)
        if not any((folder / file.path).exists() for file in outputs(labels, 0, name, stem, formats)):
            return stem
        taken.append(stem)


def _files_by_kind(
    folder: Path, written: Sequence[Output], before: manifest.Entry | None
) -> dict[str, list[str]]:
    """Return kind -> file names, with the files of earlier exports in other formats that are still there."""
    files: dict[str, list[str]] = {}
    for file in written:
        files.setdefault(file.kind, []).append(file.path)
    if before is not None:
        now = {name_key(file.path) for file in written}
        names = dict.fromkeys(name for names in before.files.values() for name in names)
        files[manifest.EARLIER] = [n for n in names if name_key(n) not in now and (folder / n).exists()]
    return files


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
