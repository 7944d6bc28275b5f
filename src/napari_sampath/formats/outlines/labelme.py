"""labelme and X-AnyLabeling JSON: one file for each image.

https://github.com/wkentaro/labelme, `labelme/_label_file.py` (the file) and `labelme/_utils/_shape.py` (the pixels of
each kind of shape). X-AnyLabeling adds kinds of shapes and members, https://github.com/CVHub520/X-AnyLabeling,
`docs/en/user_guide.md`. Shapes of one label and `group_id` are parts of one object; if all shapes of a file have the
group 0, with which some programs fill the member, none is in a group. Of the image that a file may contain
(`imageData`), only the size is read, for files of earlier versions, which state no other.

Written outlines run along pixel edges. labelme's own conversion to masks also fills the pixels that an outline passes
through, and so adds a row and a column at the lower and right edges of an object.
"""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np

from ...arrays import BoolArray, LocalMask
from ...errors import refuse
from ...files.messages import plural
from ...rasters import MAX_PIXELS, orientation
from ...rasters.pillow_file import open_image
from .. import rings
from ..class_numbers import FileClass
from ..foreign import dump_json
from ..format import KEEPS_ALL, Export, Format, Output, Point, ReadOptions, Shape, Shapes
from ..source import Source
from .corners import (
    Corners,
    ellipse,
    join_parts,
    no_area,
    reading_shape,
    rectangle,
    stated_size,
    to_corners,
    to_whole,
)

_VERSION = "5.5.0"
"""Version of labelme whose layout is written."""
_POLYGONS = ("polygon", "oriented_rectangle", "rotation", "quadrilateral")
_MAX_MASK_BYTES = 2**28
_CLASS = "class_number"
_BACKGROUND, _IGNORE = "_background_", "__ignore__"
"""Labels that are no classes in labelme's own conversions (`examples/semantic_segmentation/labels.txt`)."""


def recognises(source: Source) -> bool:
    """Return True for a JSON object with "shapes" and "imagePath"."""
    if not source.is_json:
        return False
    content = source.json
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the shapes of a file.

    Raises:
        ImageError: If it has no list of shapes, or an impossible size.
    """
    content, path = source.json, source.path
    hw = stated_size(content.get("imageHeight"), content.get("imageWidth"), path) or _size_of_data(content)
    entries = content["shapes"]
    if not isinstance(entries, list):
        refuse(path, "has no list of shapes", "export it again")
    parts: dict[Any, list[Shape]] = {}
    shapes = Shapes(hw, image=str(content["imagePath"]))
    is_grouped = not _all_in_group_0(entries)
    for index, entry in enumerate(entries, start=1):
        with reading_shape(shapes.malformed, "shape", index):
            kind = str(entry.get("shape_type") or "polygon")
            if kind == "point":
                ((x, y),) = to_corners(entry["points"]).tolist()
                if (label := _label(entry)) in (_BACKGROUND, _IGNORE):
                    shapes.skipped[f"points labelled '{label}'"] += 1
                else:
                    shapes.points.append(Point(label, (x, y)))
                continue
            part = _part(entry, kind, hw or options.hw)
            if part is None:
                shapes.skipped[no_area(kind)] += 1
                continue
            if part.class_name == _BACKGROUND:
                shapes.skipped[f"areas labelled '{_BACKGROUND}'"] += 1
                continue
            if part.class_name == _IGNORE:
                shapes.ignored.append(part)
                continue
            _number_class(part.class_name, entry, shapes)
            group = entry.get("group_id")
            key = index if group is None or not is_grouped else (part.class_name, str(group))
            parts.setdefault(key, []).append(part)
    shapes.items = [join_parts(group) for group in parts.values()]
    if not is_grouped:
        shapes.notes.append("All shapes are in the group 0, so each was read as an object of its own.")
    elif joined := sum(len(group) for group in parts.values() if len(group) > 1):
        count = sum(len(group) > 1 for group in parts.values())
        shapes.notes.append(f"{joined:,} shapes were joined to {plural(count, 'object')} by their group_id.")
    return shapes


def _size_of_data(content: dict[str, Any]) -> tuple[int, int] | None:
    """Return the size (H, W) of the image that a file contains; None if it is unknown, or the image may be turned."""
    data = content.get("imageData")
    if not isinstance(data, str):
        return None
    try:
        with open_image(io.BytesIO(base64.b64decode(data))) as image:
            return image.size[::-1] if image.getexif().get(orientation.TAG, 1) == 1 else None
    except (OSError, SyntaxError, ValueError, EOFError):  # The outlines can be read without it.
        return None


def _all_in_group_0(entries: list[Any]) -> bool:
    groups = [entry.get("group_id") for entry in entries if isinstance(entry, dict)]
    return len(groups) > 1 and all(group in (0, "0") for group in groups)


def write(export: Export) -> list[Output]:
    """Encode the objects of an image as `labelme/<image>.json`, the name under which labelme looks for it."""
    height, width = export.hw
    names = {info.id: info.name for info in export.classes}
    shapes = []
    for index, obj in enumerate(export.objects.items, start=1):
        outlines = [ring for part in rings.without_holes(obj.mask) for (ring,) in rings.trace(part)]
        shapes += [
            {
                "label": names[obj.class_id],
                # The rings of labelme are not closed.
                "points": ring[:-1].astype(float).tolist(),
                "group_id": index if len(outlines) > 1 else None,
                "description": "",
                "shape_type": "polygon",
                "flags": {},
                "mask": None,
                "sampath": {"number": obj.number, _CLASS: obj.class_id, **obj.details},
            }
            for ring in outlines
        ]
    content: dict[str, Any] = {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": export.file_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    encoded = dump_json(content)
    return [Output(f"labelme/{export.stem}.json", lambda stream: stream.write(encoded))]


def _part(entry: dict[str, Any], kind: str, hw: tuple[int, int] | None) -> Shape | None:
    """Return a shape, or None if it has no area."""
    if kind == "mask":
        return _shape(entry, mask=_mask(entry, hw))
    if kind not in (*_POLYGONS, "rectangle", "circle"):
        return None
    points = to_corners(entry["points"])
    if kind == "circle":
        centre, edge = points
        return _shape(entry, ellipse(centre, [np.hypot(*(edge - centre))] * 2))
    if kind == "rectangle" and len(points) == 2:
        return _shape(entry, rectangle(*points))
    if len(points) < 3:
        raise ValueError(f"a {kind} needs at least 3 points, and it has {len(points)}")
    return _shape(entry, points)


def _shape(entry: dict[str, Any], ring: Corners | None = None, mask: LocalMask | None = None) -> Shape:
    stored = entry.get("sampath")
    details = dict(stored) if isinstance(stored, dict) else {}
    number, _ = details.pop("number", None), details.pop(_CLASS, None)
    score = entry.get("score")
    if isinstance(score, int | float) and not isinstance(score, bool):
        details.setdefault("score", float(score))
    polygons = [] if ring is None else [[ring]]
    number = number if type(number) is int else None
    return Shape(_label(entry), polygons, mask, number=number, details=details)


def _number_class(name: str, entry: dict[str, Any], shapes: Shapes) -> None:
    """Add the class of a shape with the number that this package stored."""
    stored = entry.get("sampath")
    number = stored.get(_CLASS) if isinstance(stored, dict) else None
    if type(number) is int and all(item.name != name for item in shapes.classes):
        shapes.classes.append(FileClass(name, number))


def _label(entry: dict[str, Any]) -> str:
    return "" if entry["label"] is None else str(entry["label"])


def _mask(entry: dict[str, Any], hw: tuple[int, int] | None) -> LocalMask:
    """Decode a shape of the kind "mask": two corner pixels, and a PNG of the pixels between them."""
    (x0, y0), (x1, y1) = to_corners(entry["points"])
    corner = round(min(y0, y1)), round(min(x0, x1))
    bitmap = _decode_png(entry["mask"], hw)
    if all(value == to_whole(value) for value in (x0, y0, x1, y1)):
        height, width = int(abs(y1 - y0)) + 1, int(abs(x1 - x0)) + 1
        bitmap = bitmap[:height, :width]
    return LocalMask(*corner, bitmap)


def _decode_png(text: Any, hw: tuple[int, int] | None) -> BoolArray:
    if not isinstance(text, str) or len(text) > _MAX_MASK_BYTES:
        raise ValueError("its mask is not a PNG in base64")
    try:
        with open_image(io.BytesIO(base64.b64decode(text, validate=True)), ("PNG",)) as image:
            width, height = image.size
            if height * width > MAX_PIXELS or (hw is not None and (height > hw[0] or width > hw[1])):
                raise ValueError(f"its mask has {width} x {height} px, more than the image")
            return np.asarray(image.convert("L") if image.mode not in ("1", "L", "I;16", "I") else image) > 0
    except (OSError, SyntaxError, binascii.Error, EOFError) as error:
        raise ValueError("its mask is not a PNG in base64") from error


FORMATS = (
    Format(
        "labelme",
        "labelme JSON",
        (".json",),
        recognises,
        read,
        write=write,
        keeps=KEEPS_ALL - {"colours"},
        summary="One file for each image, for labelme and X-AnyLabeling; groups become objects of several parts.",
        lost="Colours are not written; flags and lines are not read; points may be prompts.",
    ),
)
