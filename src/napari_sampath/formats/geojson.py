"""QuPath's GeoJSON: objects as polygons with classes, colours and holes.

https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html. Every object is a feature with
`objectType` "annotation". What else is known of it stands in `metadata`, which QuPath shows and writes again, and a
score in `measurements`; the size of the image and the ids of the classes in a member of the collection that QuPath
ignores.
"""

from __future__ import annotations

import json
import logging
import uuid
from pathlib import Path
from typing import Any

import numpy as np

from ..arrays import LocalMask
from . import rings
from .foreign import ClassTable, color_of, corners, dump_json, refuse
from .objects import LabelledObject, Objects

logger = logging.getLogger(__name__)

UNCLASSIFIED = "Unclassified"
_KEY = "sampath."
"""Start of our keys in `metadata`."""
_SCORE = "Score"
_SPACE = uuid.UUID("6f1d3c9e-0d0b-5a5e-9d55-1f3f5c0f1a01")
"""Where the names of objects become UUIDs, so that the same export is the same file."""


def dump(objects: Objects, name: str) -> bytes:
    """Write a GeoJSON file of one image."""
    classes = {info.id: info for info in objects.classes}
    features = []
    for index, one in enumerate(objects.items):
        info = classes[one.class_id]
        properties: dict[str, Any] = {
            "objectType": "annotation",
            "name": f"{info.name} {one.number}" if one.number else info.name,
            "classification": {"name": info.name, "color": list(info.color)},
            "isLocked": False,
            "metadata": {_KEY + key: json.dumps(value) for key, value in _known(one).items()},
        }
        if one.details.get("score") is not None:
            properties["measurements"] = {_SCORE: one.details["score"]}
        identity = str(uuid.uuid5(_SPACE, f"{name}/{index}/{one.number}/{one.class_id}"))
        features.append(
            {"type": "Feature", "id": identity, "geometry": _geometry(one.mask), "properties": properties}
        )
    height, width = objects.hw
    ours = {
        "name": name,
        "height": height,
        "width": width,
        "classes": [
            {"id": info.id, "name": info.name, "color": list(info.color)} for info in objects.classes
        ],
    }
    return dump_json({"type": "FeatureCollection", "features": features, "sampath": ours})


def is_geojson(content: Any) -> bool:
    """Say whether a parsed JSON is a feature, a collection of them, or a list of them."""
    if isinstance(content, list):
        return all(isinstance(one, dict) and one.get("type") == "Feature" for one in content)
    return isinstance(content, dict) and content.get("type") in ("Feature", "FeatureCollection")


def parse(content: Any, path: Path, hw: tuple[int, int] | None = None) -> Objects:
    """Read a GeoJSON file.

    Polygons and multi-polygons of annotations, detections and cells become objects; points and lines have no area
    and are left out.

    Args:
        content: The parsed JSON.
        path: Used in messages.
        hw: Size (H, W) of the image, for a file that does not say it; just enough for all objects if left out.

    Raises:
        ImageError: If a feature is malformed, or none has an area though there are features.
        ClassListError: If it has more than 255 classes.
    """
    features = content if isinstance(content, list) else content.get("features", [content])
    table, own_hw = _own(content)
    items, skipped = [], []
    for index, feature in enumerate(features, start=1):
        try:
            geometry, properties = feature["geometry"], feature.get("properties") or {}
            polygons = _polygons(geometry)
            if polygons is None:
                skipped.append(str((geometry or {}).get("type")))
                continue
            class_id = _class(properties, table)
            mask = rings.fill(polygons, own_hw or hw)
        except (LookupError, TypeError, ValueError, AttributeError):
            refuse(path, f"has a feature, number {index}, that is malformed", "export it again")
        if mask.bitmap.size:
            items.append(_item(properties, index, class_id, mask))
    if skipped:
        logger.warning("%s: %d features without an area were left out (%s).", path, len(skipped), skipped[0])
    if features and not items:
        refuse(path, f"has {len(features)} features and none covers a pixel of the image", "export polygons")
    extent = [(one.mask.slices[0].stop, one.mask.slices[1].stop) for one in items]
    size = (
        own_hw
        or hw
        or (max((row for row, _ in extent), default=1), max((col for _, col in extent), default=1))
    )
    return Objects(size, table.classes, tuple(items))


def _own(content: Any) -> tuple[ClassTable, tuple[int, int] | None]:
    """Read what our own export says of classes and size; anything else is passed over."""
    table = ClassTable()
    try:
        ours = content["sampath"]
        for info in ours["classes"]:
            table.take(str(info["name"]), color_of(info["color"]), int(info["id"]))
        return table, (int(ours["height"]), int(ours["width"]))
    except (LookupError, TypeError, ValueError):
        return ClassTable(), None


def _known(one: LabelledObject) -> dict[str, Any]:
    return {"number": one.number, **{key: value for key, value in one.details.items() if key != "score"}}


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
    given = properties.get("classification") or {}
    if isinstance(given, str):  # as other programs than QuPath write it
        given = {"name": given}
    # Older versions of QuPath have "colorRGB", newer ones "names" for derived classes ("Tumour: Positive").
    names = given.get("names")
    name = ": ".join(map(str, names)) if names else str(given.get("name") or UNCLASSIFIED)
    return table.take(name, color_of(given.get("color", given.get("colorRGB"))))


def _geometry(mask: LocalMask) -> dict[str, Any]:
    pieces = [[ring.tolist() for ring in polygon] for polygon in rings.trace(mask)]
    if len(pieces) == 1:
        return {"type": "Polygon", "coordinates": pieces[0]}
    return {"type": "MultiPolygon", "coordinates": pieces}


def _polygons(geometry: Any) -> list[list[Any]] | None:
    """Read the polygons of a geometry; None if it has no area."""
    kind = None if geometry is None else geometry["type"]
    if kind == "GeometryCollection":
        parts = [_polygons(part) for part in geometry["geometries"]]
        found = [polygon for part in parts if part for polygon in part]
        return found or None
    if kind not in ("Polygon", "MultiPolygon"):
        return None
    pieces = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
    return [[np.asarray(corners(ring)) for ring in piece] for piece in pieces]
