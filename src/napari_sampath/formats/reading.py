"""Import of annotations: exports of this package, and single files of other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import ClassInfo
from ..errors import ImageError, UnknownNameError
from ..rasters import Raster, check_pixels, read_raster
from ..registry import join_names, unknown_name
from . import manifest
from .foreign import load_json
from .labels import DETAILS, KINDS, WHOLE, Labels, check_unique, default_color, image_name, used_ids
from .maps import omezarr
from .objects import Objects
from .outlines import coco, geojson

if TYPE_CHECKING:
    import numpy.typing as npt

    from ..arrays import UInt8Array

_OUTLINES = (".json", ".geojson")
_LOSSY = ("JPEG", "JPEG2000", "MPO", "WEBP", "AVIF")
_EXPORT = "export a PNG (8 or 16-bit grey, or indexed) or a TIFF with one whole number per pixel"


def import_labels(path: str | Path, name: str | None = None, hw: tuple[int, int] | None = None) -> Labels:
    """Read label maps; outlines are painted into maps, later objects over earlier ones.

    Args:
        path: A folder that `export_labels` wrote, its `classes.json`, or one label file in it (the other map of the
            image is read as well); or a file of another program: COCO, GeoJSON, OME-Zarr or a label image. A label
            image of 8 bits is read as classes, with the colours of its palette, and each connected component of a class
            becomes an object. An image of more bits is read as objects of one class.
        name: Name of the image, if the folder or file contains several.
        hw: Size (H, W) of the image, for a GeoJSON file that does not contain it.

    Raises:
        ImageError: If a file is missing, unreadable, not a label map (RGB, float, JPEG ...), or of a size other than
            that in `classes.json`.
        DuplicateNameError: If two classes in `classes.json` share an id or a name.
        UnknownNameError: If there is no image of that name.
    """
    labels = _read(Path(path).expanduser(), name, hw)
    if isinstance(labels, Objects):
        return labels.to_labels()
    if isinstance(labels.class_map, np.ndarray):
        return labels
    check_pixels(labels.class_map.shape[0], labels.class_map.shape[1], "the label map")
    maps = np.asarray(labels.class_map[:]), np.asarray(labels.instance_map[:]).astype(np.int32)
    return Labels(*maps, labels.classes, labels.details)


def import_objects(path: str | Path, name: str | None = None, hw: tuple[int, int] | None = None) -> Objects:
    """Read annotations as objects, without creating label maps of the image size; see `import_labels`.

    Raises:
        SampathError: As `import_labels`.
    """
    labels = _read(Path(path).expanduser(), name, hw)
    return labels if isinstance(labels, Objects) else Objects.of(labels)


def _read(path: Path, name: str | None, hw: tuple[int, int] | None) -> Labels | Objects:
    if path.is_dir() and omezarr.is_omezarr(path):
        return omezarr.read(path)
    if path.is_file() and path.name == manifest.MANIFEST:
        path = path.parent
    if path.is_dir():
        return _read_entry(path, *_choose(path, name))
    if path.suffix.lower() in _OUTLINES:
        return _read_outlines(path, name, hw)
    image = image_name(path.name)
    entry = manifest.load(path.parent / manifest.MANIFEST).get(image) if image is not None else None
    if image is not None and entry is not None and entry.holds(path.name):
        # Prefer the given file to its copy in another format, because it may have been edited.
        files = {
            kind: sorted(names, key=lambda file: file != path.name) for kind, names in entry.files.items()
        }
        return _read_entry(path.parent, image, manifest.Entry(entry.hw, entry.classes, files))
    return _read_foreign(path)


def _read_outlines(path: Path, name: str | None, hw: tuple[int, int] | None) -> Objects:
    content = load_json(path)
    return (
        geojson.parse(content, path, hw) if geojson.is_geojson(content) else coco.parse(content, path, name)
    )


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
                f"'{folder}' holds label maps of {len(entries)} images ({join_names(list(entries))}); name one of them."
            )
        name = next(iter(entries))
    if name not in entries:
        raise UnknownNameError(unknown_name(f"label map in '{folder}' of an image", name, list(entries)))
    return name, entries[name]


def _read_entry(folder: Path, name: str, entry: manifest.Entry) -> Labels | Objects:
    check_unique(entry.classes, f"'{folder / manifest.MANIFEST}'")
    combined = [folder / file for file in entry.files.get(WHOLE, ()) if (folder / file).exists()]
    if combined and not entry.files[KINDS[0]]:
        return _read(combined[0], name, entry.hw)
    maps = []
    for kind, highest in zip(KINDS, (255, np.iinfo(np.int32).max), strict=True):
        files = [folder / file for file in entry.files[kind]]
        existing = [file for file in files if file.is_file()]
        if not existing:
            raise ImageError(
                f"'{folder}' lacks the {kind} file of '{name}' ({', '.join(file.name for file in files)}); restore it "
                "or export again."
            )
        values = _label_values(read_raster(existing[0], indexed=True), existing[0])
        if values.shape != entry.hw:
            raise ImageError(
                f"'{existing[0]}' has shape {values.shape}, and {manifest.MANIFEST} says {entry.hw}; export again."
            )
        if values.max(initial=0) > highest:
            raise ImageError(
                f"'{existing[0]}' contains {values.max()}, but values must be from 0 to {highest}; export again."
            )
        maps.append(values)
    class_map = maps[0].astype(np.uint8)
    classes = _add_missing(class_map, entry.classes, None)
    details_files = [folder / file for file in entry.files.get(DETAILS, ()) if (folder / file).is_file()]
    details = manifest.load_details(details_files[0]) if details_files else {}
    return Labels(class_map, maps[1].astype(np.int32), classes, details)


def _read_foreign(path: Path) -> Labels:
    raster = read_raster(path, indexed=True)
    values = _label_values(raster, path)
    if values.dtype.itemsize == 1:
        from skimage.measure import label  # Slow to import.

        class_map = values.astype(np.uint8)
        objects = label(class_map, background=0, connectivity=2)
        return Labels(class_map, objects.astype(np.int32), _add_missing(class_map, (), raster.palette))
    if int(values.max(initial=0)) > np.iinfo(np.int32).max:
        raise ImageError(
            f"'{path}' contains {values.max()}, but values must be from 0 to {np.iinfo(np.int32).max}; renumber them."
        )
    class_map = (values > 0).astype(np.uint8)
    return Labels(class_map, values.astype(np.int32), _add_missing(class_map, (), None))


def _label_values(raster: Raster, path: Path) -> npt.NDArray[Any]:
    """Return the values of a label image, (H, W) bool or whole numbers from 0.

    Raises:
        ImageError: If it is not a label image.
    """
    values = raster.values
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if raster.format in _LOSSY:
        raise ImageError(f"'{path}' is a {raster.format} file, which alters label values; {_EXPORT}.")
    if values.ndim != 2:
        colours = values.shape[2] if values.ndim == 3 else f"{values.ndim} dimensions and 0"
        raise ImageError(f"'{path}' has {colours} channels (colours, not labels); {_EXPORT}.")
    if values.dtype.kind not in "bui":
        raise ImageError(f"'{path}' contains values of type {values.dtype}; {_EXPORT}.")
    if values.dtype.kind == "i" and int(values.min(initial=0)) < 0:
        raise ImageError(f"'{path}' contains {values.min()}, but labels must not be negative; renumber them.")
    return values


def _add_missing(
    class_map: UInt8Array, classes: tuple[ClassInfo, ...], palette: UInt8Array | None
) -> tuple[ClassInfo, ...]:
    """Add a class for every value of a class map (H, W) uint8 that has none, with its colour in the palette if any."""
    ids = {info.id for info in classes}
    names = {info.name for info in classes}
    added = []
    for number in used_ids(class_map):
        if number in ids:
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
