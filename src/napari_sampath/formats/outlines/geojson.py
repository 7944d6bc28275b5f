"""Read and write QuPath-compatible GeoJSON: objects as polygons with holes, with classes and colours.

https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html. Each object is a feature with
`objectType` "annotation". Its details are stored in `metadata`, which QuPath displays and preserves, and its score in
`measurements`. The image size and the class ids are stored in the member "sampath" of the collection, which QuPath
ignores.
"""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import LocalMask
from .. import rings
from ..foreign import ClassTable, dump_json, parse_color, parse_ring, refuse
from ..objects import LabelledObject, Objects

logger = logging.getLogger(__name__)

UNCLASSIFIED = "Unclassified"
_KEY = "sampath."
"""Prefix of this package's keys in `metadata`."""
_SCORE = "Score"
_SPACE = uuid.UUID("6f1d3c9e-0d0b-5a5e-9d55-1f3f5c0f1a01")
"""Namespace of the UUIDs of objects, so that repeated exports give the same file."""


def dump(objects: Objects, name: str) -> bytes:
    """Encode the objects of one image as GeoJSON."""
    classes = {info.id: info for info in objects.classes}
    features = []
    for index, obj in enumerate(objects.items):
        info = classes[obj.class_id]
        properties: dict[str, Any] = {
            "objectType": "annotation",
            "name": f"{info.name} {obj.number}" if obj.number else info.name,
            "classification": {"name": info.name, "color": list(info.color)},
            "isLocked": False,
            "metadata": {_KEY + key: json.dumps(value) for key, value in _metadata(obj).items()},
        }
        if obj.details.get("score") is not None:
            properties["measurements"] = {_SCORE: obj.details["score"]}
        identity = str(uuid.uuid5(_SPACE, f"{name}/{index}/{obj.number}/{obj.class_id}"))
        features.append(
            {"type": "Feature", "id": identity, "geometry": _geometry(obj.mask), "properties": properties}
        )
    height, width = objects.hw
    image = {
        "name": name,
        "height": height,
        "width": width,
        "classes": [
            {"id": info.id, "name": info.name, "color": list(info.color)} for info in objects.classes
        ],
    }
    return dump_json({"type": "FeatureCollection", "features": features, "sampath": image})


def is_geojson(content: Any) -> bool:
    """Return True if parsed JSON is a feature, a feature collection, or a list of features."""
    if isinstance(content, list):
        return all(isinstance(item, dict) and item.get("type") == "Feature" for item in content)
    return isinstance(content, dict) and content.get("type") in ("Feature", "FeatureCollection")


def parse(content: Any, path: Path, hw: tuple[int, int] | None = None) -> Objects:
    """Decode GeoJSON.

    Polygons and multi-polygons of annotations, detections and cells become objects. Points and lines have no area and
    are skipped.

    Args:
        content: The parsed JSON.
        path: For error messages.
        hw: Size (H, W) of the image if the file does not contain it; the extent of all objects if left out.

    Raises:
        ImageError: If a feature is malformed, or there are features but none has an area.
        ClassListError: If there are more than 255 classes.
    """
    features = content if isinstance(content, list) else content.get("features", [content])
    table, stored_hw = _read_sampath(content)
    items, skipped = [], []
    for index, feature in enumerate(features, start=1):
        try:
            geometry, properties = feature["geometry"], feature.get("properties") or {}
            polygons = _polygons(geometry)
            if polygons is None:
                skipped.append(str((geometry or {}).get("type")))
                continue
            class_id = _class(properties, table)
            mask = rings.fill(polygons, stored_hw or hw)
        except (LookupError, TypeError, ValueError, AttributeError):
            refuse(path, f"holds a malformed feature (number {index})", "export it again")
        if mask.bitmap.size:
            items.append(_item(properties, index, class_id, mask))
    if skipped:
        logger.warning("%s: %d features without an area were skipped (%s).", path, len(skipped), skipped[0])
    if features and not items:
        refuse(path, f"has {len(features)} features, but none covers a pixel", "export polygons")
    extent = [(obj.mask.slices[0].stop, obj.mask.slices[1].stop) for obj in items]
    size = (
        stored_hw
        or hw
        or (max((row for row, _ in extent), default=1), max((col for _, col in extent), default=1))
    )
    return Objects(size, table.classes, tuple(items))


def _read_sampath(content: Any) -> tuple[ClassTable, tuple[int, int] | None]:
    """Read the classes and the size (H, W) that this package's exports store; empty and None for other files."""
    table = ClassTable()
    try:
        image = content["sampath"]
        for info in image["classes"]:
            table.id_of(str(info["name"]), parse_color(info["color"]), int(info["id"]))
        return table, (int(image["height"]), int(image["width"]))
    except (LookupError, TypeError, ValueError):
        return ClassTable(), None


def _metadata(obj: LabelledObject) -> dict[str, Any]:
    return {"number": obj.number, **{key: value for key, value in obj.details.items() if key != "score"}}


def _item(properties: dict[str, Any], index: int, class_id: int, mask: LocalMask) -> LabelledObject:
    details: dict[str, Any] = {}
    metadata, measurements = properties.get("metadata"), properties.get("measurements")
    for key, value in (metadata if isinstance(metadata, dict) else {}).items():
        if key.startswith(_KEY):
            try:
                details[key.removeprefix(_KEY)] = json.loads(value)
            except (ValueError, TypeError):
                logger.warning("The metadata %s of feature %d cannot be read.", key, index)
    score = measurements.get(_SCORE) if isinstance(measurements, dict) else None
    if isinstance(score, int | float):
        details["score"] = float(score)
    number = details.pop("number", index)
    return LabelledObject(number if isinstance(number, int) else index, class_id, mask, details)


def _class(properties: dict[str, Any], table: ClassTable) -> int:
    classification = properties.get("classification") or {}
    if isinstance(classification, str):  # Written by programs other than QuPath.
        classification = {"name": classification}
    # Older versions of QuPath write "colorRGB"; newer ones write "names" for derived classes ("Tumour: Positive").
    names = classification.get("names")
    name = ": ".join(map(str, names)) if names else str(classification.get("name") or UNCLASSIFIED)
    return table.id_of(name, parse_color(classification.get("color", classification.get("colorRGB"))))


def _geometry(mask: LocalMask) -> dict[str, Any]:
    polygons = [[ring.tolist() for ring in polygon] for polygon in rings.trace(mask)]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _polygons(geometry: Any) -> list[list[Any]] | None:
    """Return the polygons of a GeoJSON geometry; None if it has no area."""
    kind = None if geometry is None else geometry["type"]
    if kind == "GeometryCollection":
        parts = [_polygons(part) for part in geometry["geometries"]]
        return [polygon for part in parts if part for polygon in part] or None
    if kind not in ("Polygon", "MultiPolygon"):
        return None
    polygons = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
    return [[np.asarray(parse_ring(ring)) for ring in polygon] for polygon in polygons]
