"""VGG Image Annotator (VIA 1 to 2): a project, or the exported annotations as JSON.

https://www.robots.ox.ac.uk/~vgg/software/via/. The class of a region is its attribute "class", "label", "name", "type"
or "category", or its only attribute. The files do not contain the size of the image.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from ...errors import refuse
from ..foreign import choose_image
from ..format import Format, ImageEntry, ReadOptions, Shape, Shapes
from ..source import Source
from .corners import ellipse, no_area, reading_shape, rectangle, to_corners, to_number

_METADATA = "_via_img_metadata"
_CLASS_KEYS = ("class", "label", "name", "type", "category")


def recognises(source: Source) -> bool:
    """Return True for a VIA project, or a JSON object of images with "filename" and "regions"."""
    return source.is_json and bool(_entries(source.json))


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the regions of one image.

    Raises:
        ImageError: If the layout is another one, or there are several images and no name is given.
        UnknownNameError: If there is no image of that name.
    """
    entries = _entries(source.json)
    entry = entries[
        choose_image([str(image["filename"]) for image in entries], options.image_name, source.path)
    ]
    regions = entry["regions"]
    # Version 1 has an object with numbers as keys, version 2 a list.
    regions = list(regions.values()) if isinstance(regions, dict) else regions
    if not isinstance(regions, list):
        refuse(source.path, "has no list of regions", "export it again")
    items, skipped, malformed = [], Counter[str](), list[str]()
    for index, region in enumerate(regions, start=1):
        with reading_shape(malformed, "region", index):
            area = region["shape_attributes"]
            kind = str(area["name"])
            ring = _ring(area, kind)
            if ring is None:
                skipped[no_area(kind)] += 1
            else:
                items.append(Shape(_class(region.get("region_attributes") or {}), polygons=[[ring]]))
    return Shapes(items=items, skipped=skipped, malformed=malformed, image=str(entry["filename"]))


def images(source: Source) -> list[ImageEntry]:
    """List the images of a project."""
    return [ImageEntry(str(entry["filename"])) for entry in _entries(source.json)]


def _entries(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, dict):
        return []
    entries = content.get(_METADATA, content)
    entries = list(entries.values()) if isinstance(entries, dict) else []
    valid = all(isinstance(entry, dict) and "filename" in entry and "regions" in entry for entry in entries)
    return entries if valid else []


def _ring(area: dict[str, Any], kind: str) -> Any:
    """Return the ring of a region, or None if it has no area."""
    if kind == "polygon":
        x, y = area["all_points_x"], area["all_points_y"]
        if len(x) != len(y) or len(x) < 3:
            raise ValueError(f"its polygon has {len(x)} x and {len(y)} y coordinates")
        return to_corners([list(pair) for pair in zip(x, y, strict=True)])
    if kind == "rect":
        x, y, width, height = (to_number(area[key]) for key in ("x", "y", "width", "height"))
        return rectangle((x, y), (x + width, y + height))
    if kind in ("circle", "ellipse"):
        centre = to_number(area["cx"]), to_number(area["cy"])
        radii = [to_number(area[key]) for key in (("r", "r") if kind == "circle" else ("rx", "ry"))]
        # VIA 2 stores the rotation of an ellipse in radians.
        return ellipse(centre, radii, float(np.degrees(to_number(area.get("theta", 0)))))
    return None


def _class(attributes: Any) -> str:
    if not isinstance(attributes, dict):
        return ""
    texts = {str(key): text for key, value in attributes.items() if (text := _text(value))}
    keys = [key for key in texts if key.casefold() in _CLASS_KEYS] or list(texts)
    return texts[keys[0]] if keys else ""


def _text(value: Any) -> str:
    """Return the value of an attribute: a text, a number, or the ticked boxes of a checkbox; "" for none."""
    if isinstance(value, dict):
        return ", ".join(str(key) for key, ticked in value.items() if ticked is True)
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


FORMATS = (
    Format(
        "via",
        "VGG Image Annotator JSON",
        (".json",),
        recognises,
        read,
        images=images,
        summary="Projects and annotations of VIA; one attribute becomes the class.",
        lost="Further attributes, points and lines.",
    ),
)
