"""Label maps as OME-Zarr (NGFF 0.5): `labels/classes` and `labels/instances`, each a pyramid.

https://ngff.openmicroscopy.org/specifications/0.5/#labels-metadata. `image-label` stores the class colours,
and as properties the class names ("name") and the details of objects.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import ClassInfo
from ...errors import ImageError, UnknownNameError
from ...registry import unknown_name
from ..foreign import ClassTable, parse_color, refuse
from ..labels import KINDS, Labels, MapLike, blocks, default_color, used_ids

if TYPE_CHECKING:
    import zarr

VERSION = "0.5"
CHUNK_PX = 1024
_SMALLEST_PX = 512
"""Maximum side of the last level of a pyramid."""
_AXES = [{"name": "y", "type": "space"}, {"name": "x", "type": "space"}]


def write(folder: Path, labels: Labels, mpp: float | None = None) -> None:
    """Write label maps into a new folder, tile by tile.

    Args:
        folder: The root group; its group `labels` contains both maps.
        labels: The maps.
        mpp: Micrometres per pixel, if known.
    """
    import zarr

    root = zarr.open_group(str(folder), mode="w", zarr_format=3, attributes={"ome": {"version": VERSION}})
    group = root.create_group("labels", attributes={"ome": {"version": VERSION, "labels": list(KINDS)}})
    colors = [{"label-value": info.id, "rgba": [*info.color, 255]} for info in labels.classes if info.id]
    names = [{"label-value": info.id, "name": info.name} for info in labels.classes if info.id]
    details = [{"label-value": number, **values} for number, values in labels.details.items()]
    _write_map(group, "classes", labels.class_map, np.dtype(np.uint8), mpp, colors, names)
    _write_map(group, "instances", labels.instance_map, np.dtype(np.int32), mpp, [], details)


def is_omezarr(path: Path) -> bool:
    """Return True if a folder is a Zarr group."""
    return any((path / name).is_file() for name in ("zarr.json", ".zgroup", ".zattrs"))


def read(path: Path) -> Labels:
    """Open label maps, whose pixels are read from disk on access.

    Args:
        path: A group with `labels`, or a label image (NGFF 0.4 or 0.5). A single label image of another program is
            read as classes if it has 8 bits, otherwise as objects of one class.

    Raises:
        ImageError: If there is no usable label image.
        UnknownNameError: If there are several label images of another program.
    """
    import zarr

    try:
        group = zarr.open_group(str(path), mode="r")
        groups = _label_groups(path, group)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(f"'{path}' is not a readable OME-Zarr ({error}); export it again.") from error
    if not groups:
        refuse(path, "has no label images", "give an OME-Zarr with labels")
    if set(KINDS) <= set(groups):
        return _read_export(path, groups)
    if len(groups) > 1:
        raise UnknownNameError(
            unknown_name(f"label image in '{path}' (give its own folder)", "classes", sorted(groups))
        )
    ((name, label),) = groups.items()
    return _read_foreign(path, name, label)


def _write_map(
    group: zarr.Group,
    name: str,
    values: MapLike,
    dtype: np.dtype[Any],
    mpp: float | None,
    colors: list[dict[str, Any]],
    properties: list[dict[str, Any]],
) -> None:
    label = group.create_group(name)
    height, width = values.shape
    levels = max(0, math.ceil(math.log2(max(height, width) / _SMALLEST_PX))) + 1
    datasets = []
    source: Any = values
    for level in range(levels):
        shape = -(-height // 2**level), -(-width // 2**level)
        chunks = min(CHUNK_PX, shape[0]), min(CHUNK_PX, shape[1])
        array = label.create_array(
            str(level), shape=shape, chunks=chunks, dtype=dtype, fill_value=0, dimension_names=["y", "x"]
        )
        _copy(source, array, 1 if level == 0 else 2)
        source = array
        scale = 2.0**level * (mpp or 1.0)
        # Each level has every other pixel of the previous one, so all levels have the same origin.
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [scale, scale]}]}
        )
    axes = [{**axis, **({"unit": "micrometer"} if mpp else {})} for axis in _AXES]
    # The specification does not allow empty lists.
    image_label: Any = {
        key: value for key, value in (("colors", colors), ("properties", properties)) if value
    }
    multiscales: Any = [{"name": name, "axes": axes, "datasets": datasets}]
    label.attrs["ome"] = {"version": VERSION, "multiscales": multiscales, "image-label": image_label}


def _copy(source: MapLike, array: zarr.Array[Any], step: int) -> None:
    """Copy every `step`-th pixel of a map into an array, chunk by chunk; empty chunks are not written."""
    rows, cols = array.chunks
    filled = {
        (row, col)
        for r0, c0, r1, c1 in blocks(source, CHUNK_PX)
        for row in range(r0 // step // rows, (r1 - 1) // step // rows + 1)
        for col in range(c0 // step // cols, (c1 - 1) // step // cols + 1)
    }
    for row, col in sorted(filled):
        r0, c0 = row * rows, col * cols
        part = np.asarray(source[r0 * step : (r0 + rows) * step, c0 * step : (c0 + cols) * step])[
            ::step, ::step
        ]
        if part.any():
            array[r0 : r0 + part.shape[0], c0 : c0 + part.shape[1]] = part


def _metadata(group: zarr.Group) -> dict[str, Any]:
    attributes = dict(group.attrs)
    metadata = attributes.get("ome", attributes)
    return metadata if isinstance(metadata, dict) else {}


def _label_groups(path: Path, group: zarr.Group) -> dict[str, zarr.Group]:
    """Return the label images by name: the group itself, or those listed by its group `labels` or by itself."""
    import zarr

    if "image-label" in _metadata(group):
        return {group.basename or group.store_path.path or path.name: group}
    if "labels" in group and isinstance(group["labels"], zarr.Group):
        group = group["labels"]
    labels = {str(name): group.get(name) for name in _metadata(group).get("labels", [])}
    return {name: label for name, label in labels.items() if isinstance(label, zarr.Group)}


def _array(path: Path, group: zarr.Group) -> Any:
    """Return the full-size array (H, W) of a label image.

    Raises:
        ImageError: If it is not a single plane of whole numbers.
    """
    try:
        array: Any = group[_metadata(group)["multiscales"][0]["datasets"][0]["path"]]
        shape, kind = array.shape, array.dtype.kind
    except (LookupError, TypeError, AttributeError):
        refuse(path, f"has a label image '{group.name}' without pixels", "export it again")
    if len(shape) != 2 or kind not in "bui" or 0 in shape:
        refuse(
            path,
            f"has labels of shape {shape} and type {array.dtype}",
            "give one plane (y, x) of whole numbers",
        )
    return array


def _colors_and_properties(group: zarr.Group) -> tuple[dict[int, Any], dict[int, dict[str, Any]]]:
    """Read the colours and properties of a label image by value; malformed entries are skipped."""
    label = _metadata(group).get("image-label") or {}
    colors, properties = {}, {}
    for entry in label.get("colors") or []:
        if isinstance(entry, dict) and isinstance(entry.get("label-value"), int):
            colors[entry["label-value"]] = parse_color(entry.get("rgba"))
    for entry in label.get("properties") or []:
        if isinstance(entry, dict) and isinstance(entry.get("label-value"), int):
            properties[entry["label-value"]] = {k: v for k, v in entry.items() if k != "label-value"}
    return colors, properties


def _read_export(path: Path, groups: dict[str, zarr.Group]) -> Labels:
    maps = [_array(path, groups[kind]) for kind in KINDS]
    if maps[0].shape != maps[1].shape:
        refuse(path, f"has maps of shapes {maps[0].shape} and {maps[1].shape}", "export it again")
    colors, names = _colors_and_properties(groups["classes"])
    values = [value for value in dict.fromkeys([*names, *colors]) if 1 <= value <= 255]
    _, details = _colors_and_properties(groups["instances"])
    return Labels(maps[0], maps[1], _classes(values, names, colors), details)


def _classes(values: list[int], names: dict[int, Any], colors: dict[int, Any]) -> tuple[ClassInfo, ...]:
    """Create a class for each value, with its name and colour in the metadata if any."""
    table = ClassTable()
    for value in values:
        table.id_of(str(names.get(value, {}).get("name", f"class {value}")), colors.get(value), value)
    return table.classes


def _read_foreign(path: Path, name: str, group: zarr.Group) -> Labels:
    array = _array(path, group)
    colors, names = _colors_and_properties(group)
    if array.dtype.itemsize > 1:
        return Labels(_Foreground(array), array, (ClassInfo(1, name, default_color(1)),))
    values = used_ids(np.asarray(array[:]).astype(np.uint8))
    return Labels(array, _Zeros(array), _classes(values, names, colors))


class _Foreground:
    """A class map with class 1 where another map is positive."""

    dtype = np.dtype(np.uint8)

    def __init__(self, values: MapLike) -> None:
        self.values = values
        self.shape = values.shape

    def __getitem__(self, key: Any) -> Any:
        return (np.asarray(self.values[key]) > 0).astype(np.uint8)


class _Zeros(_Foreground):
    """A map of zeros of the shape of another map."""

    def __getitem__(self, key: Any) -> Any:
        return np.zeros(np.asarray(self.values[key]).shape, dtype=np.uint8)
