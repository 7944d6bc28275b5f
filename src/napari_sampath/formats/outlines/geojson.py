"""Read and write QuPath-compatible GeoJSON: objects as polygons with holes, with classes and colours.

https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html. Each object is a feature with
`objectType` "annotation". Its details are stored in `metadata`, which QuPath displays and preserves, and its score in
`measurements`. The image size and the class numbers are stored in the member "sampath" of the collection, which QuPath
ignores; QuPath preserves the class numbers in `metadata`.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from ...arrays import LocalMask
from ...errors import refuse
from ...files import JsonError, convert, from_json, parse_json
from ...files.json_reader import Range
from ...files.messages import plural
from .. import rings
from ..class_numbers import FileClass
from ..foreign import Side, dump_json, parse_color, parse_ring
from ..format import KEEPS_ALL, Export, Format, Output, Point, ReadOptions, Shape, Shapes
from ..objects import LabelledObject, Objects
from ..source import Source
from .corners import reading_shape

UNCLASSIFIED = "Unclassified"
_KEY = "sampath."
"""Prefix of this package's keys in `metadata`."""
_Channel = Annotated[int, Range(0, 255)]
_CLASS = "class_number"
_SCORE = "Score"
_SPACE = uuid.UUID("6f1d3c9e-0d0b-5a5e-9d55-1f3f5c0f1a01")
"""Namespace of the UUIDs of objects, so that repeated exports give the same file."""
_LINES = ("LineString", "MultiLineString")
_GEOMETRIES = ("Polygon", "MultiPolygon", "GeometryCollection", "Point", "MultiPoint", *_LINES)


@dataclass(frozen=True, slots=True)
class StoredClass:
    """A class of the image."""

    id: Annotated[int, Range(0, 255)]
    name: str
    color: tuple[_Channel, _Channel, _Channel]


@dataclass(frozen=True, slots=True)
class StoredImage:
    """The image of a file."""

    height: Side
    width: Side
    classes: tuple[StoredClass, ...] = ()
    name: str = ""

    @classmethod
    def of(cls, objects: Objects, name: str) -> StoredImage:
        """Describe an image and its classes."""
        classes = tuple(StoredClass(info.id, info.name, info.color) for info in objects.classes)
        return cls(*objects.hw, classes, name)

    @property
    def hw(self) -> tuple[int, int]:
        """Size (H, W) of the image."""
        return self.height, self.width

    @property
    def file_classes(self) -> list[FileClass]:
        """The classes as a file states them."""
        return [FileClass(info.name, info.id, info.color) for info in self.classes]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object; the inverse of `files.from_json`."""
        return asdict(self)


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
            {
                "type": "Feature",
                "id": identity,
                "geometry": _geometry(obj.mask, objects.hw),
                "properties": properties,
            }
        )
    image = StoredImage.of(objects, name).to_json()
    return dump_json({"type": "FeatureCollection", "features": features, "sampath": image})


def is_geojson(content: Any) -> bool:
    """Return True if parsed JSON is a geometry, a feature, a feature collection, or a list of features."""
    if isinstance(content, list):
        return bool(content) and all(
            isinstance(item, dict) and item.get("type") == "Feature" for item in content
        )
    return isinstance(content, dict) and content.get("type") in ("Feature", "FeatureCollection", *_GEOMETRIES)


def read(source: Source, options: ReadOptions) -> Shapes:
    """Read polygons, multi-polygons and points of annotations, detections and cells; lines are skipped.

    Args:
        source: The file.
        options: `geometry` selects the outline of the cell or of its nucleus.

    Raises:
        ImageError: If it has no list of features.
    """
    return parse(source.json, source.path, options)


def parse(content: Any, path: Path, options: ReadOptions) -> Shapes:
    """Decode GeoJSON; see `read`."""
    shapes = _stored(content)
    nuclei = 0
    features = _features(content, path)
    planes = [_plane(feature) for feature in features]
    first = min(planes, default=(0, 0))
    for number, (feature, plane) in enumerate(zip(features, planes, strict=True), start=1):
        if plane != first:
            shapes.skipped["objects of other slices or time points than the first"] += 1
            continue
        with reading_shape(shapes.malformed, "feature", number):
            geometry, properties = feature.get("geometry"), feature.get("properties") or {}
            if options.geometry == "nucleus" and feature.get("nucleusGeometry"):
                geometry, nuclei = feature["nucleusGeometry"], nuclei + 1
            polygons, points = _polygons(geometry), _point_list(geometry)
            if polygons:
                shapes.items.append(_shape(properties, polygons, shapes))
            elif points:
                name, color = _classification(properties)
                shapes.points += [Point(name, xy, color) for xy in points]
            else:
                kind = geometry.get("type") if isinstance(geometry, dict) else None
                shapes.skipped[f"{'lines' if kind in _LINES else 'features'} without an area"] += 1
    if nuclei:
        shapes.notes.append(
            f"The outline of the nucleus was read for {nuclei:,} of {plural(len(shapes.items), 'object')}."
        )
    return shapes


def write(export: Export) -> Iterable[Output]:
    """Return the file of one image."""
    yield Output(
        export.path("geojson"), lambda stream: stream.write(dump(export.objects_of_any_size, export.name))
    )


def _features(content: Any, path: Path) -> list[Any]:
    if isinstance(content, list):
        return content
    if content.get("type") in _GEOMETRIES:
        return [{"geometry": content}]
    if content.get("type") == "Feature":
        return [content]
    features = content.get("features")
    if not isinstance(features, list):
        refuse(path, "has no list of features", "export it again")
    return features


def _plane(feature: Any) -> tuple[int, int]:
    """Return the time point and slice that QuPath stores in the geometry; (0, 0) if there are none."""
    geometry = feature.get("geometry") if isinstance(feature, dict) else None
    plane = geometry.get("plane") if isinstance(geometry, dict) else None
    t, z = (plane.get(axis) if isinstance(plane, dict) else 0 for axis in "tz")
    return (t, z) if type(t) is int and type(z) is int else (0, 0)


def _stored(content: Any) -> Shapes:
    """Return the classes and the size that this package's exports store; nothing for other files."""
    try:
        image = from_json(StoredImage, content.get("sampath") if isinstance(content, dict) else None)
    except JsonError:
        return Shapes()
    return Shapes(image.hw, classes=image.file_classes, image=image.name)


def _metadata(obj: LabelledObject) -> dict[str, Any]:
    details = {key: value for key, value in obj.details.items() if key != "score"}
    return {"number": obj.number, _CLASS: obj.class_id, **details}


def _shape(properties: dict[str, Any], polygons: list[list[Any]], shapes: Shapes) -> Shape:
    details: dict[str, Any] = {}
    metadata, measurements = properties.get("metadata"), properties.get("measurements")
    for key, value in (metadata if isinstance(metadata, dict) else {}).items():
        if key.startswith(_KEY):
            try:
                details[key.removeprefix(_KEY)] = parse_json(convert(value, str))
            except JsonError:
                shapes.skipped["features with metadata that cannot be read"] += 1
    score = measurements.get(_SCORE) if isinstance(measurements, dict) else None
    if isinstance(score, int | float) and math.isfinite(score):
        details["score"] = float(score)
    number, class_number = details.pop("number", None), details.pop(_CLASS, None)
    name, color = _classification(properties)
    if type(class_number) is int and all(item.name != name for item in shapes.classes):
        shapes.classes.append(FileClass(name, class_number, color))
    return Shape(name, polygons, number=number if type(number) is int else None, details=details, color=color)


def _classification(properties: dict[str, Any]) -> tuple[str, tuple[int, int, int] | None]:
    """Return the name and colour of the class of a feature."""
    given: Any = next(
        (
            properties[key]
            for key in ("classification", "class", "label")
            if properties.get(key) not in (None, "", {}, [])  # The number 0 is a valid class.
        ),
        {},
    )
    if not isinstance(given, dict):  # Written by programs other than QuPath.
        given = {"name": given}
    name = given.get("name")
    # Older versions of QuPath write "colorRGB"; newer ones write "names" for derived classes ("Tumour: Positive").
    names = given.get("names")
    parts = names if isinstance(names, list) and names else [UNCLASSIFIED if name in (None, "") else name]
    return ": ".join(map(str, parts)), parse_color(given.get("color", given.get("colorRGB")))


def _geometry(mask: LocalMask, hw: tuple[int, int]) -> dict[str, Any]:
    # The last elements of the mask of a very large object may reach beyond the image.
    limits = np.array(hw[::-1])
    polygons = [[np.minimum(ring, limits).tolist() for ring in polygon] for polygon in rings.trace(mask)]
    if len(polygons) == 1:
        return {"type": "Polygon", "coordinates": polygons[0]}
    return {"type": "MultiPolygon", "coordinates": polygons}


def _polygons(geometry: Any) -> list[list[Any]]:
    """Return the polygons of a GeoJSON geometry; none if it has no area."""
    kind = None if geometry is None else geometry["type"]
    if kind == "GeometryCollection":
        return [polygon for part in geometry["geometries"] for polygon in _polygons(part)]
    if kind not in ("Polygon", "MultiPolygon"):
        return []
    polygons = geometry["coordinates"] if kind == "MultiPolygon" else [geometry["coordinates"]]
    return [[parse_ring(ring) for ring in polygon] for polygon in polygons if polygon]


def _point_list(geometry: Any) -> list[tuple[float, float]]:
    """Return the positions (x, y) of a point or of several points; none for other geometries."""
    kind = None if geometry is None else geometry["type"]
    if kind == "GeometryCollection":
        return [xy for part in geometry["geometries"] for xy in _point_list(part)]
    if kind not in ("Point", "MultiPoint"):
        return []
    positions = geometry["coordinates"] if kind == "MultiPoint" else [geometry["coordinates"]]
    return [(x, y) for x, y in parse_ring(positions).tolist()] if positions else []


FORMATS = (
    Format(
        "geojson",
        "GeoJSON (QuPath)",
        (".geojson", ".json", ".geojson.gz", ".zip"),
        recognises=lambda source: source.is_json and is_geojson(source.json),
        read=read,
        write=write,
        summary="Outlines with classes, colours, holes and parts; drag the file onto the image in QuPath.",
        keeps=KEEPS_ALL,
        lost="Points are skipped or prompts for a model, lines skipped; measurements other than Score are not read.",
    ),
)
