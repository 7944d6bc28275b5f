"""Import of annotations: exports of this package, and files of other programs in any registered format."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, UnknownNameError
from ..files import find_file, name_key, settle
from ..files.messages import plural
from ..rasters import check_pixels, read_labels
from ..registry import join_names, unknown_name
from . import manifest
from .class_numbers import FileClass
from .conversion.painting import paint
from .conversion.placement import Placement, place
from .foreign import other_name, stem_of
from .format import ReadOptions, Shapes
from .labels import DETAILS, KINDS, WHOLE, Labels, check_unique, numbers_in, used_ids
from .maps.known_classes import known_classes
from .maps.label_values import add_missing, to_labels
from .objects import Objects, boxes_of
from .registry import find_format, readable
from .source import Source

if TYPE_CHECKING:
    import numpy.typing as npt


def import_labels(
    path: str | Path,
    name: str | None = None,
    hw: tuple[int, int] | None = None,
    options: ReadOptions | None = None,
) -> Labels:
    """Read label maps; outlines are painted into maps.

    Args:
        path: A folder that `export_labels` wrote, its `classes.json`, or one label file in it (the other map of the
            image is read as well); or a file or folder of another program in one of the formats of `registry`.
        name: Name of the image, if the folder or file contains several; overrides that of `options`.
        hw: Size (H, W) of the image, with which that of the file is compared; overrides that of `options`.
        options: Choices where a file can be read in several ways.

    Raises:
        ImageError: If a file is missing, unreadable, of no known format, of another size, or has annotations of which
            none can be imported.
        ImportChoiceError: If it can be read in several ways, and `options` does not specify which one is meant.
        DuplicateNameError: If two classes in `classes.json` share an id or a name.
        UnknownNameError: If there is no image of that name.
    """
    labels = _read(path, name, hw, options)
    if isinstance(labels, Objects):
        return labels.to_labels()
    if isinstance(labels.class_map, np.ndarray):
        return labels
    check_pixels(labels.class_map.shape[0], labels.class_map.shape[1], "the label map")
    maps = np.asarray(labels.class_map[:]), np.asarray(labels.instance_map[:]).astype(np.int32)
    return replace(labels, class_map=maps[0], instance_map=maps[1])


def import_objects(
    path: str | Path,
    name: str | None = None,
    hw: tuple[int, int] | None = None,
    options: ReadOptions | None = None,
) -> Objects:
    """Read annotations as objects, without creating label maps of the image size; see `import_labels`.

    Raises:
        SampathError: As `import_labels`.
    """
    labels = _read(path, name, hw, options)
    return labels if isinstance(labels, Objects) else Objects.of(labels)


def read_source(source: Source, options: ReadOptions) -> Labels | Objects:
    """Read a source, which can be reused to read the labels of several images; see `import_labels`.

    Raises:
        SampathError: As `import_labels`.
    """
    content = find_format(source, options.format).read(source, options)  # type: ignore[misc]  # it is readable
    if isinstance(content, Shapes):
        if remark := other_name(content.image, options.image_name):
            content.notes.insert(0, remark)
        return paint(content, options, source.path)
    return _placed(content, options, source.path)


def _read(
    path: str | Path, name: str | None, hw: tuple[int, int] | None, options: ReadOptions | None
) -> Labels | Objects:
    options = options or ReadOptions()
    options = replace(options, image_name=name or options.image_name, hw=hw or options.hw)
    path = Path(path).expanduser()
    settle(path if path.is_dir() else path.parent)
    source = Source(path)
    entry = _find_entry(source, options) if options.format is None else None
    if entry is None:
        return read_source(source, options)
    content = _read_entry(*entry, options)
    stored = entry[2].digest
    if not (stored and options.digest) or stored == options.digest:
        return content
    note = f"The exported image '{entry[2].image}' has other pixels than this image; check that it belongs to it."
    return replace(content, notes=(note, *content.notes))


def _find_entry(source: Source, options: ReadOptions) -> tuple[Path, str, manifest.Entry] | None:
    """Find the folder, the name and the entry of an exported image; None for files of other programs."""
    path = source.path
    if path.name == manifest.MANIFEST and not source.is_folder:
        return path.parent, *_choose(path.parent, manifest.load(path), options)
    if source.is_folder:
        return _find_in_folder(source, options)
    entries = _entries_beside(path)
    key = manifest.owner(entries, path.name)
    if key is None or not any(entries[key].holds(path.name, kind) for kind in (*KINDS, DETAILS)):
        return None
    # Prefer the given file to its copy in another format, because it may have been edited.
    files = {
        kind: sorted(names, key=lambda file: name_key(file) != name_key(path.name))
        for kind, names in entries[key].files.items()
    }
    return path.parent, key, replace(entries[key], files=files)


def _entries_beside(path: Path) -> dict[str, manifest.Entry]:
    """Return the exports in the folder of a file; none if its `classes.json` is a plain list of classes."""
    file = path.parent / manifest.MANIFEST
    if not file.is_file():
        return {}
    try:
        return manifest.load(file)
    except ImageError:
        if known_classes(path)[0]:
            return {}
        raise


def _find_in_folder(source: Source, options: ReadOptions) -> tuple[Path, str, manifest.Entry] | None:
    """Find an exported image in a folder or its subfolders: by its pixels, or by its name."""
    folder = source.path
    own = manifest.load(folder / manifest.MANIFEST)
    if own and (not options.digest or options.digest in {entry.digest for entry in own.values()}):
        return folder, *_choose(folder, own, options)
    if not own and any(entry.recognises and entry.recognises(source) for entry in readable()):
        return None
    below, damaged = _exports_below(folder)
    matches = [
        (sub, key, entry)
        for sub, entries in below.items()
        for key, entry in entries.items()
        if options.digest and entry.digest == options.digest
    ]
    if matches:
        return matches[0]
    if damaged is not None and not own:  # It may be the export of this image.
        raise damaged
    if own or not below:
        is_export = (folder / manifest.MANIFEST).is_file()
        return (folder, *_choose(folder, own, options)) if is_export else None
    return _choose_below(folder, below, options.image_name)


def _exports_below(folder: Path) -> tuple[dict[Path, dict[str, manifest.Entry]], ImageError | None]:
    """Return the exports in the subfolders of a folder, and the error of one that cannot be read."""
    exports, damaged = {}, None
    for file in manifest.manifests_below(folder):
        try:
            exports[file.parent] = manifest.load(file)
        except ImageError as error:
            damaged = error
    return exports, damaged


def _choose_below(
    folder: Path, below: dict[Path, dict[str, manifest.Entry]], name: str | None
) -> tuple[Path, str, manifest.Entry]:
    """Choose an image in the subfolders by its name.

    Raises:
        ImageError: If several subfolders have an image of this name.
        UnknownNameError: If there is none.
    """
    keys = [(sub, key) for sub, entries in below.items() for key in entries if name is None]
    if name is not None:
        found = {sub: manifest.find(entries, name) for sub, entries in below.items()}
        keys = [(sub, key) for sub, key in found.items() if key is not None]
    if len(keys) > 1:
        paths = join_names([str(sub / key) for sub, key in keys])
        raise ImageError(
            f"'{folder}' holds {len(keys)} images of this name ({paths}), and none has the pixels of this image; give "
            "the folder of one of them."
        )
    if not keys:
        known = [key for entries in below.values() for key in entries]
        raise UnknownNameError(
            unknown_name(f"label map of an image in '{folder}' and its subfolders", name or "", known)
        )
    sub, key = keys[0]
    return sub, key, below[sub][key]


def _choose(
    folder: Path, entries: dict[str, manifest.Entry], options: ReadOptions
) -> tuple[str, manifest.Entry]:
    name = options.image_name
    if not entries:
        raise ImageError(
            f"There are no label maps in '{folder}' (no {manifest.MANIFEST}); give a label file."
        )
    if name is None:
        if len(entries) > 1:
            raise ImageError(
                f"'{folder}' holds label maps of {len(entries)} images ({join_names(list(entries))}); name one of them."
            )
        name = next(iter(entries))
    key = manifest.find(entries, name, options.digest) or manifest.find(entries, stem_of(name))
    if key is None:
        raise UnknownNameError(unknown_name(f"label map of an image in '{folder}'", name, list(entries)))
    return key, entries[key]


def _read_entry(folder: Path, name: str, entry: manifest.Entry, options: ReadOptions) -> Labels | Objects:
    check_unique(entry.classes, f"'{folder / manifest.MANIFEST}'")
    files = {kind: [find_file(folder, file) for file in files] for kind, files in entry.files.items()}
    entry = replace(entry, files=files)
    combined = [folder / file for file in entry.files.get(WHOLE, ()) if os.path.exists(folder / file)]
    if combined and not any(entry.files[kind] for kind in KINDS):
        # Of several files, read the one that keeps most, such as GeoJSON instead of YOLO.
        sources = [Source(file) for file in combined]
        best = (
            max(sources, key=lambda source: len(find_format(source).keeps))
            if len(sources) > 1
            else sources[0]
        )
        return read_source(best, replace(options, image_name=None, hw=options.hw or entry.hw))
    maps = {kind: _read_map(folder, name, entry, kind) for kind in KINDS if entry.files[kind]}
    if not maps:
        raise ImageError(
            f"'{folder}' has no file of '{name}' with its classes and objects; give one of its files, or export it in "
            "another format."
        )
    details_files = [folder / file for file in entry.files.get(DETAILS, ()) if os.path.isfile(folder / file)]
    details = manifest.load_details(details_files[0]) if details_files else {}
    if len(maps) < len(KINDS):  # Written by `sampath segment`.
        ((kind, values),) = maps.items()
        known = [FileClass(info.name, info.id, info.color) for info in entry.classes if info.id]
        chosen = replace(options, as_="classes" if kind == KINDS[0] else "objects")
        labels = to_labels(values, chosen, folder / entry.files[kind][0], known=known)
    else:
        class_map = maps[KINDS[0]].astype(np.uint8)
        classes = add_missing(used_ids(class_map), entry.classes)
        labels = Labels(class_map, maps[KINDS[1]].astype(np.int32), classes, details)
    return _placed(labels, options, folder / next(iter(entry.files[next(iter(maps))])))


def _read_map(folder: Path, name: str, entry: manifest.Entry, kind: str) -> npt.NDArray[Any]:
    """Read the class map or the instance map of an exported image."""
    files = [folder / file for file in entry.files[kind]]
    existing = [file for file in files if os.path.isfile(file)]  # Unlike `Path.is_file`, never raises.
    if not existing:
        raise ImageError(
            f"'{folder}' lacks the {kind} file of '{name}' ({', '.join(file.name for file in files)}); restore it "
            "or export again."
        )
    values = read_labels(existing[0]).values
    if values.shape != entry.hw:
        raise ImageError(
            f"'{existing[0]}' has shape {values.shape}, and {manifest.MANIFEST} says {entry.hw}; export again."
        )
    highest = 255 if kind == KINDS[0] else np.iinfo(np.int32).max
    if values.max(initial=0) > highest:
        raise ImageError(
            f"'{existing[0]}' contains {values.max()}, but values must be from 0 to {highest}; export again."
        )
    return values


def _placed(labels: Labels, options: ReadOptions, path: Path) -> Labels:
    """Compare the size of label maps with the image, and convert them to its pixels.

    Raises:
        ImageError: If no object lies in the image.
    """
    height, width = labels.class_map.shape
    placement = place((int(height), int(width)), options, path)
    if placement.is_identity and placement.hw in (None, (height, width)):
        return labels
    before = numbers_in(labels.instance_map)
    maps = placement.values(labels.class_map), placement.values(labels.instance_map)
    notes = (*labels.notes, *_cut(labels, placement))
    lost = len(before) - len(numbers_in(maps[1]))
    if lost == len(before) > 0:
        raise ImageError(
            f"'{path}' has {plural(lost, 'object')}, but none lies in the image; give another offset, or choose "
            "the file of this image."
        )
    if lost:
        notes = (*notes, f"Left out: {plural(lost, 'object')} outside the image.")
    return replace(labels, class_map=maps[0], instance_map=maps[1], notes=notes)


def _cut(labels: Labels, placement: Placement) -> tuple[str, ...]:
    """Return a sentence with the number of objects of a label map that reach beyond the edge of the image."""
    height, width = placement.hw or labels.class_map.shape
    count = 0
    for r0, c0, r1, c1 in boxes_of(labels.instance_map).values():
        (x0, y0), (x1, y1) = placement.points([(c0, r0), (c1, r1)]).tolist()
        is_inside = x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height
        count += not is_inside and min(x1, y1, width - x0, height - y0) > 0
    return (f"{plural(count, 'object')} cut off at the edge of the image.",) if count else ()
