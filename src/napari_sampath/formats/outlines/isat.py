"""ISAT JSON: one file for each image.

https://github.com/yatengLG/ISAT_with_segment_anything, `ISAT/annotation.py` (the file) and `ISAT/formats/voc.py` (its
meaning as pixels). Polygons of one category and group are parts of one object, higher layers cover lower ones, and the
category `__background__` removes pixels from what lies below.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ...errors import refuse
from ..format import Format, ReadOptions, Shape, Shapes
from ..source import Source
from .corners import Boxes, Corners, reading_shape, stated_size, to_corners, to_number

_BACKGROUND = "__background__"


@dataclass(slots=True)
class _Object:
    category: str
    polygons: list[list[Corners]]
    holes: list[list[Corners]] = field(default_factory=list)


def recognises(source: Source) -> bool:
    """Return True for a JSON object with "objects" and "info", whose description starts with "ISAT"."""
    content = source.json if source.is_json else None
    if not isinstance(content, dict) or "objects" not in content:
        return False
    info = content.get("info")
    return isinstance(info, dict) and str(info.get("description")).startswith("ISAT")


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the polygons of a file, those of the lowest layer first.

    Raises:
        ImageError: If the file is damaged.
    """
    info, entries, path = source.json["info"], source.json["objects"], source.path
    hw = stated_size(info.get("height"), info.get("width"), path)
    if not isinstance(entries, list):
        refuse(path, "has no list of objects", "export it again")
    skipped: Counter[str] = Counter()
    malformed: list[str] = []
    layered: list[tuple[float, dict[str, Any], Corners]] = []
    for index, entry in enumerate(entries, start=1):
        with reading_shape(malformed, "polygon", index):
            points = to_corners(entry["segmentation"])
            if len(points) < 3:
                skipped["outlines of fewer than 3 points"] += 1
            else:
                layered.append((to_number(entry.get("layer", 1)), entry, points))
    layered.sort(key=lambda layer: layer[0])
    objects, separate = _stack(layered)
    items = [Shape(obj.category, obj.polygons, holes=obj.holes) for obj in objects]
    notes = (
        [f"{separate} parts of groups lie above a hole and were read as separate objects."]
        if separate
        else []
    )
    name = str(info.get("name") or "") or None
    return Shapes(hw, items, skipped=skipped, malformed=malformed, notes=notes, image=name, is_ordered=True)


def _stack(layered: list[tuple[float, dict[str, Any], Corners]]) -> tuple[list[_Object], int]:
    """Join the polygons of each group, and cut the background out of what lies below it."""
    boxes = Boxes([points for _, _, points in layered])
    objects: list[_Object] = []
    owners: list[_Object | None] = []
    groups: dict[Any, _Object] = {}
    separate = 0
    for _, entry, points in layered:
        category, group = str(entry.get("category", "")), entry.get("group")
        if category == _BACKGROUND:
            covered = [owners[index] for index in boxes.overlapping(points, len(owners))]
            for obj in {id(obj): obj for obj in covered if obj is not None}.values():
                obj.holes.append([points])
            owners.append(None)
            continue
        owner = groups.get((category, str(group))) if group else None
        if owner is None or owner.holes:
            # The hole below a part would cut it away as well.
            separate += owner is not None
            owner = groups[category, str(group)] = _Object(category, [])
            objects.append(owner)
        owner.polygons.append([points])
        owners.append(owner)
    return objects, separate


FORMATS = (
    Format(
        "isat",
        "ISAT JSON",
        (".json",),
        recognises,
        read,
        summary="One file for each image; groups become objects of several parts, and layers are kept.",
        lost="Notes and the crowd mark.",
    ),
)
