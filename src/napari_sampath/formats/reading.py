"""Import of label maps: of our own exports, and single files of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import ClassInfo
from ..errors import ImageError, UnknownNameError
from ..rasters import Raster, read_raster
from ..registry import unknown_name
from . import manifest
from .labels import KINDS, Labels, check_unique, default_color, image_name, used_ids

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..arrays import UInt8Array

_LOSSY = ("JPEG", "JPEG2000", "MPO", "WEBP", "AVIF")
_ALLOWED = "allowed are whole numbers, one a pixel (8 or 16-bit grey or indexed PNG, or TIFF)"


def import_labels(path: str | Path, name: str | None = None) -> Labels:
    """Read label maps.

    Args:
        path: A folder (or its `classes.json`) that `export_labels` wrote; one label file of such a folder, which
            brings the other map of its image along; or a label file of another program. There, an image of 8 bits
            is taken for classes (with the colours of its palette, if it has one), and each connected area of a
            class becomes an object; wider numbers are taken for objects of one class.
        name: Name of the image, where the folder holds several.

    Raises:
        ImageError: If a file is missing, unreadable, no label map (RGB, float, JPEG ...), or not of the size that
            `classes.json` gives.
        DuplicateNameError: If two classes of `classes.json` share an id or a name.
        UnknownNameError: If the folder has no label maps of an image of that name.
    """
    path = Path(path).expanduser()
    if path.is_file() and path.name == manifest.MANIFEST:
        path = path.parent
    if path.is_dir():
        return _read_entry(path, *_choose(path, name))
    listed = image_name(path.name)
    entry = manifest.load(path.parent / manifest.MANIFEST).get(listed) if listed is not None else None
    if listed is not None and entry is not None and entry.holds(path.name):
        # The named file counts, not its copy in the other format: a person may have edited it.
        files = {
            kind: sorted(names, key=lambda file: file != path.name) for kind, names in entry.files.items()
        }
        return _read_entry(path.parent, listed, manifest.Entry(entry.hw, entry.classes, files))
    return _read_foreign(path)


def _choose(folder: Path, name: str | None) -> tuple[str, manifest.Entry]:
    file = folder / manifest.MANIFEST
    entries = manifest.load(file)
    if not entries:
        raise ImageError(
            f"There are no label maps in '{folder}' (no {manifest.MANIFEST}); give a label file."
        )
    if name is None:
        if len(entries) > 1:
            raise ImageError(
                f"'{folder}' holds label maps of {len(entries)} images ({', '.join(entries)}); name one of them."
            )
        name = next(iter(entries))
    if name not in entries:
        raise UnknownNameError(unknown_name(f"label map in '{folder}' of an image", name, list(entries)))
    return name, entries[name]


def _read_entry(folder: Path, name: str, entry: manifest.Entry) -> Labels:
    check_unique(entry.classes, f"'{folder / manifest.MANIFEST}'")
    maps = []
    for kind, most in zip(KINDS, (255, np.iinfo(np.int32).max), strict=True):
        files = [folder / file for file in entry.files[kind]]
        there = [file for file in files if file.is_file()]
        if not there:
            raise ImageError(
                f"'{folder}' has lost the {kind} file of '{name}' ({', '.join(file.name for file in files)}); put it "
                "back or export again."
            )
        values = _label_values(read_raster(there[0], indexed=True), there[0])
        if values.shape != entry.hw:
            raise ImageError(
                f"'{there[0]}' has shape {values.shape}, and {manifest.MANIFEST} says {entry.hw}; export again."
            )
        if values.max(initial=0) > most:
            raise ImageError(f"'{there[0]}' holds {values.max()}; allowed are 0 to {most}: export again.")
        maps.append(values)
    class_map = maps[0].astype(np.uint8)
    classes = _with_unknown(class_map, entry.classes, None)
    return Labels(class_map, maps[1].astype(np.int32), classes)


def _read_foreign(path: Path) -> Labels:
    raster = read_raster(path, indexed=True)
    values = _label_values(raster, path)
    if values.dtype.itemsize == 1:
        from skimage.measure import label  # Slow to import.

        class_map = values.astype(np.uint8)
        objects = label(class_map, background=0, connectivity=2)
        return Labels(class_map, objects.astype(np.int32), _with_unknown(class_map, (), raster.palette))
    if int(values.max(initial=0)) > np.iinfo(np.int32).max:
        raise ImageError(
            f"'{path}' holds {values.max()}; allowed are 0 to {np.iinfo(np.int32).max}: renumber it."
        )
    class_map = (values > 0).astype(np.uint8)
    return Labels(class_map, values.astype(np.int32), _with_unknown(class_map, (), None))


def _label_values(raster: Raster, path: Path) -> npt.NDArray[Any]:
    """Check that an image can be a label map; (H, W) bool or integers from 0 on."""
    values = raster.values
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if raster.format in _LOSSY:
        raise ImageError(
            f"'{path}' is a {raster.format} file, which alters label values; {_ALLOWED}: save it as one."
        )
    if values.ndim != 2:
        colours = values.shape[2] if values.ndim == 3 else f"{values.ndim} dimensions and 0"
        raise ImageError(
            f"'{path}' has {colours} channels (colours, not labels); {_ALLOWED}: export it as one."
        )
    if values.dtype.kind not in "bui":
        raise ImageError(f"'{path}' holds values of type {values.dtype}; {_ALLOWED}: convert it.")
    if values.dtype.kind == "i" and int(values.min(initial=0)) < 0:
        raise ImageError(f"'{path}' holds {values.min()}; {_ALLOWED}, from 0 on: renumber it.")
    return values


def _with_unknown(
    class_map: UInt8Array, classes: tuple[ClassInfo, ...], palette: UInt8Array | None
) -> tuple[ClassInfo, ...]:
    """Add a class for every value of (H, W) uint8 that has none."""
    known = {info.id for info in classes}
    names = {info.name for info in classes}
    added = []
    for number in used_ids(class_map):
        if number in known:
            continue
        color = default_color(number)
        if palette is not None and palette[number].any():
            red, green, blue = palette[number].tolist()
            color = (red, green, blue)
        name = f"class {number}"
        while name in names:
            name += "'"
        names.add(name)
        added.append(ClassInfo(number, name, color))
    return (*classes, *added)
