"""Export of annotations as label maps, outlines or OME-Zarr, with a `classes.json` for the folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError
from ..files import Write, WriteFolder, file_stem, free_name, locked, name_key, remove_staged, write_together
from ..rasters import check_pixels
from ..registry import lookup
from . import manifest
from .class_numbers import agree
from .format import Export, Output
from .labels import Labels, blocks, check_unique, numbers_in, renumber, renumber_classes, used_ids
from .maps import pixels
from .outputs import outputs
from .registry import writable

if TYPE_CHECKING:
    from ..arrays import ClassInfo
    from .labels import MapLike
    from .snapshot import Snapshot

_MAX_ID = 2**31 - 1


def export_labels(
    folder: str | Path,
    snapshot: Snapshot,
    formats: Sequence[str] = ("png", "tiff"),
    notes: list[str] | None = None,
    beside: Iterable[Sequence[ClassInfo]] = (),
) -> list[Path]:
    """Write the annotations of one image; either all files are replaced, or none.

    `<name>_classes.png` is indexed: its palette contains the class colours, and 0 is transparent.
    `<name>_instances.png` has 16 bits; if a number exceeds 65,535, the objects are renumbered 1, 2, 3 ... in all files
    of this export, in the same order. The TIFF files (losslessly compressed) contain the same maps as uint8 and uint16,
    or uint32 if a number exceeds 65,535. `<name>_details.json` contains the details of the objects in the label maps.
    `<name>_objects.coco.json` contains run lengths, `<name>_objects.polygons.coco.json` polygons,
    `<name>_objects.geojson` objects for QuPath and `<name>_objects.ome.zarr` both maps as NGFF 0.5 labels. Outlines
    exclude pixels without a class. `classes.json` is shared by all images of the folder; entries of other images are
    kept, even if several programs export at once.

    A class has one number in all files of a folder: that of the exports of other images, see `class_numbers`.

    Args:
        folder: Created if missing.
        snapshot: The annotations; they replace an earlier export of the same image. The files of another image of the
            same name are kept, and the names of the new files get a number, such as "tile (2)_classes.png". The image,
            the verified area and `mpp` are not written.
        formats: Some of `FORMATS`.
        notes: Extended by sentences for the user, such as classes that have other numbers in this folder.
        beside: Class lists of exports in other folders, whose numbers are kept as well.

    Returns:
        The files written, `classes.json` last.

    Raises:
        ImageError: If the maps are inconsistent, or a format cannot store them.
        DuplicateNameError, UnknownNameError: If two classes share an id or a name, or there is no such format.
        StorageError: If a file cannot be written; an earlier export is untouched.
    """
    folder, name = Path(folder).expanduser(), snapshot.name
    formats = list(dict.fromkeys(formats))
    for format_name in formats or [""]:
        lookup("format", {entry.name: entry for entry in writable()}, format_name)
    (class_map, instance_map), highest = _check_maps(snapshot.class_map, snapshot.instance_map)
    labels = Labels(class_map, instance_map, tuple(snapshot.classes or ()), snapshot.details)
    _check_classes(class_map, labels.classes)
    if "png" in formats:
        labels, highest = _fit_png(labels, name, highest)
    with locked(folder / manifest.MANIFEST, manifest.LOCK_S):
        entries = manifest.load(folder / manifest.MANIFEST)
        written, changed = _add_entry(entries, folder, snapshot, labels, highest, formats, beside)
        remove_staged(dict.fromkeys([folder, *((folder / file.path).parent for file in written)]))
        content = manifest.dump(entries)
        files: dict[Path, Write] = {folder / file.path: file.write for file in written if file.write}
        folders: dict[Path, WriteFolder] = {
            folder / file.path: file.write_folder for file in written if file.write_folder
        }
        files[folder / manifest.MANIFEST] = lambda stream: stream.write(content)
        write_together(files, folder, folders)
    if notes is not None:
        notes.extend(changed)
    return [*(folder / file.path for file in written), folder / manifest.MANIFEST]


def _add_entry(
    entries: dict[str, manifest.Entry],
    folder: Path,
    snapshot: Snapshot,
    labels: Labels,
    highest: int,
    formats: Sequence[str],
    beside: Iterable[Sequence[ClassInfo]],
) -> tuple[list[Output], tuple[str, ...]]:
    """Add the image to the entries of `classes.json`; return its files, and a sentence if class numbers change."""
    name = snapshot.name
    hw = (int(labels.class_map.shape[0]), int(labels.class_map.shape[1]))
    key = manifest.find_same(entries, name, snapshot.digest, hw)
    before = None if key is None else entries[key]
    others = {entry.stem: entry.classes for other, entry in entries.items() if other != key}
    labels, changed = _with_numbers_of([*others.values(), *beside], labels)
    export = Export(
        name, snapshot.file_name or name, "", labels, highest, folder, snapshot.image, snapshot.mpp, others
    )
    stem = _free_stem(export, entries, formats) if before is None else before.stem
    written = outputs(replace(export, stem=stem), formats)
    by_kind = _files_by_kind(folder, written, before)
    entry = manifest.Entry(hw, labels.classes, by_kind, stem, name, snapshot.digest)
    entries[key or free_name(name, entries)] = entry
    return written, changed


def _with_numbers_of(others: Iterable[Sequence[ClassInfo]], labels: Labels) -> tuple[Labels, tuple[str, ...]]:
    """Give the classes of an image the numbers that they have in other images of the folder.

    Returns:
        The labels, and a sentence if a number changed.
    """
    table: tuple[ClassInfo, ...] = ()
    for classes in others:
        table = agree(table, [info for info in classes if info.id]).classes
    given = [info for info in labels.classes if info.id]
    numbered = agree(table, given, "the image") if table else None
    if numbered is None or numbered.numbers == tuple(info.id for info in given):
        return labels, ()
    numbers = dict(zip((info.id for info in given), numbered.numbers, strict=True))
    changed = replace(
        labels,
        class_map=renumber_classes(labels.class_map, numbers),
        classes=tuple(replace(info, id=numbers.get(info.id, info.id)) for info in labels.classes),
    )
    return changed, numbered.notes


def _free_stem(export: Export, entries: Mapping[str, manifest.Entry], formats: Sequence[str]) -> str:
    """Return the stem of the files of an image that is not in `classes.json` yet, such as "tile (2)".

    Files of another image, and files that are not from an export of this folder, are not replaced.
    """
    taken = [entry.stem for entry in entries.values()]
    while True:
        stem = free_name(file_stem(export.name), taken)
        files = outputs(replace(export, stem=stem), formats)
        if not any((export.folder / file.path).exists() for file in files if file.kind):
            return stem
        taken.append(stem)


def _files_by_kind(
    folder: Path, written: Sequence[Output], before: manifest.Entry | None
) -> dict[str, list[str]]:
    """Return kind -> file names, with the files of earlier exports in other formats that are still there."""
    files: dict[str, list[str]] = {}
    for file in written:
        if file.kind:
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
