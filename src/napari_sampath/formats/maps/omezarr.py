"""Label maps as OME-Zarr (NGFF 0.5): `labels/classes` and `labels/instances`, each a pyramid.

https://ngff.openmicroscopy.org/specifications/0.5/#labels-metadata. `image-label` stores the class colours,
and as properties the class names ("name") and the details of objects.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import UnknownNameError, refuse
from ...files.messages import plural
from ...rasters.zarr_arrays import Node, ZarrMap, array_info, is_zarr
from ...registry import unknown_name
from ..class_numbers import FileClass, add_to_table
from ..foreign import parse_color
from ..format import KEEPS_ALL, Export, Format, Output, ReadOptions
from ..labels import KINDS, Labels, MapLike, blocks, used_ids
from .label_values import to_labels

if TYPE_CHECKING:
    import zarr

VERSION = "0.5"
CHUNK_PX = 1024
_MAX_LABELS = 1000
_MAX_CLASSIFIED_PX = 2**28
"""Largest map in which objects get their classes from the properties, in pixels."""
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
    return is_zarr(path)


def read(path: Path, options: ReadOptions = ReadOptions()) -> Labels:  # noqa: B008
    """Open label maps, whose pixels are read from disk on access.

    Args:
        path: A group with `labels`, or a label image (NGFF 0.4 or 0.5). Of axes other than y and x, each must have
            length 1.
        options: Whether the values of a single label image of another program are classes or objects.

    Raises:
        ImageError: If there is no usable label image.
        UnknownNameError: If there are several label images of another program.
    """
    root = Node.open(path)
    labels = _label_nodes(root) if root is not None else {}
    if not labels:
        refuse(path, "has no label images", "give an OME-Zarr with labels")
    if set(KINDS) <= set(labels):
        return _read_export(path, labels)
    if len(labels) > 1:
        raise UnknownNameError(
            unknown_name(f"label image in '{path}' (give its own folder)", "classes", sorted(labels))
        )
    ((name, label),) = labels.items()
    return _read_foreign(path, name, label, options)


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


def _ngff(node: Node) -> Mapping[str, Any]:
    """Return the attributes that NGFF defines, of version 0.5 or earlier."""
    attributes = node.attributes.get("ome", node.attributes)
    return attributes if isinstance(attributes, dict) else {}


def _label_nodes(root: Node) -> dict[str, Node]:
    """Return the label images by name: the group itself, or those listed by its group `labels` or by itself."""
    if "image-label" in _ngff(root):
        return {root.folder.name: root}
    listed = root.child("labels") or root
    names = _ngff(listed).get("labels")
    strings = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if len(strings) > _MAX_LABELS:
        refuse(listed.folder, f"lists {len(strings):,} label images", f"give at most {_MAX_LABELS}")
    nodes = {name: listed.child(name) for name in dict.fromkeys(strings)}
    return {name: node for name, node in nodes.items() if node is not None and node.array is None}


def _map(path: Path, label: Node) -> ZarrMap:
    """Return the full-size map (H, W) of a label image.

    Raises:
        ImageError: If it is not a single plane of whole numbers, or its metadata is damaged.
    """
    multiscale = _first(_ngff(label).get("multiscales"))
    level = _first(multiscale.get("datasets")).get("path")
    array = label.child(level) if isinstance(level, str) else None
    if array is None or array.array is None:
        refuse(path, f"has a label image '{label.folder.name}' without pixels", "export it again")
    info = array_info(array)
    rows, cols = _plane(multiscale.get("axes"), len(info.shape))
    if any(side > 1 for axis, side in enumerate(info.shape) if axis not in (rows, cols)) or rows == cols:
        refuse(path, f"has labels of shape {info.shape}", "give one plane (y, x) of whole numbers")
    return ZarrMap(info, rows, cols)


def _plane(axes: Any, dimensions: int) -> tuple[int, int]:
    """Return the axes of rows and columns; the last two if the metadata does not name them."""
    names = [axis.get("name") if isinstance(axis, dict) else axis for axis in _list(axes)]
    if len(names) == dimensions and names.count("y") == names.count("x") == 1:
        return names.index("y"), names.index("x")
    return max(0, dimensions - 2), dimensions - 1


def _first(values: Any) -> Mapping[str, Any]:
    first = values[0] if isinstance(values, list) and values else None
    return first if isinstance(first, dict) else {}


def _list(values: Any) -> list[Any]:
    return values if isinstance(values, list) else []


def _colors_and_properties(label: Node) -> tuple[dict[int, Any], dict[int, dict[str, Any]]]:
    """Read the colours and properties of a label image by value; malformed entries are skipped."""
    content = _ngff(label).get("image-label")
    details = content if isinstance(content, dict) else {}
    colors, properties = {}, {}
    for entry in _list(details.get("colors")):
        if isinstance(entry, dict) and type(entry.get("label-value")) is int:
            colors[entry["label-value"]] = parse_color(entry.get("rgba"))
    for entry in _list(details.get("properties")):
        if isinstance(entry, dict) and type(entry.get("label-value")) is int:
            properties[entry["label-value"]] = {k: v for k, v in entry.items() if k != "label-value"}
    return colors, properties


def _read_export(path: Path, labels: Mapping[str, Node]) -> Labels:
    maps = [_map(path, labels[kind]) for kind in KINDS]
    if maps[0].shape != maps[1].shape:
        refuse(path, f"has maps of shapes {maps[0].shape} and {maps[1].shape}", "export it again")
    if maps[0].dtype.itemsize > 1:
        refuse(path, f"has classes of type {maps[0].dtype}", "export it again")
    colors, names = _colors_and_properties(labels["classes"])
    _, details = _colors_and_properties(labels["instances"])
    numbered = add_to_table((), _listed(names, colors, used_ids(maps[0])))
    return Labels(maps[0], maps[1], numbered.classes, details, numbered.notes)


def _listed(
    names: Mapping[int, Mapping[str, Any]], colors: Mapping[int, Any], values: Iterable[int] = ()
) -> list[FileClass]:
    """Return the classes of the values that have a name or a colour in the metadata, and of other values."""
    listed = []
    for value in dict.fromkeys([*names, *colors, *values]):
        name = _name_in(names.get(value, {})) or f"class {value}"
        listed.append(FileClass(name, value, colors.get(value)))
    return [item for item in listed if item.number is not None and 1 <= item.number <= 255]


def _read_foreign(path: Path, name: str, label: Node, options: ReadOptions) -> Labels:
    colors, names = _colors_and_properties(label)
    stated = {value: text for value, fields in names.items() if value > 0 and (text := _name_in(fields))}
    values = _map(path, label)
    is_repeated = len(set(stated.values())) < len(stated)
    if is_repeated and options.as_ != "classes" and values.shape[0] * values.shape[1] <= _MAX_CLASSIFIED_PX:
        return _classified(np.asarray(values[:]), stated, name)
    known = _listed(names, colors) if stated and not is_repeated else []
    palette = None
    if colors and min(colors) >= 0 and max(colors) <= 255 and not known:
        palette = np.zeros((256, 3), dtype=np.uint8)
        for value, color in colors.items():
            palette[value] = color or (0, 0, 0)
    return to_labels(values, options, path, palette, known, name)


def _name_in(fields: Mapping[str, Any]) -> str:
    """Return the class name in the properties of a value, "class" in the specification; "" if there is none."""
    return next((text for key in ("name", "class") if isinstance(text := fields.get(key), str) and text), "")


def _classified(values: Any, stated: Mapping[int, str], other: str) -> Labels:
    """Read values as objects whose classes are in the properties; values without a class get the class `other`."""
    numbers, inverse = np.unique(values, return_inverse=True)
    names = [stated.get(number, other) if number else "" for number in numbers.tolist()]
    listed = [FileClass(name) for name in dict.fromkeys(names) if name]
    table = add_to_table((), listed)
    ids = {"": 0, **dict(zip((item.name for item in listed), table.numbers, strict=True))}
    class_map = np.array([ids[name] for name in names], dtype=np.uint8)[inverse].reshape(values.shape)
    note = f"The values were read as objects of {plural(len(listed), 'class')}, which the properties state."
    return Labels(class_map, values.astype(np.int32), table.classes, notes=(note,))


def _write(export: Export) -> Iterable[Output]:
    yield Output(export.path("ome.zarr"), write_folder=partial(write, labels=export.labels, mpp=export.mpp))


FORMATS = (
    Format(
        "ome-zarr",
        "OME-Zarr",
        ("/",),
        recognises=lambda source: source.is_folder and is_omezarr(source.path),
        read=lambda source, options: read(source.path, options),
        write=_write,
        summary="Label images as pyramids, for large images.",
        keeps=KEEPS_ALL,
        lost="Images with several planes, channels or time points are not read.",
    ),
)
