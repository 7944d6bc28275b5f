"""Encoding of objects as COCO JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...arrays import LocalMask
from .. import rings
from ..foreign import dump_json
from ..format import Export, Output
from ..objects import LabelledObject, Objects
from ..run_lengths import encode_coco


def dump(objects: Objects, file_name: str, polygons: bool) -> bytes:
    """Encode the objects of one image as COCO JSON.

    Args:
        objects: The objects of one image.
        file_name: Name of the image file, with its ending.
        polygons: Encode outlines along pixel edges instead of uncompressed run lengths. COCO polygons have no holes, so
            an object with holes is cut into parts without holes; reading them gives the same pixels.
    """
    height, width = objects.hw
    return dump_json(
        {
            "info": {"description": file_name, "version": "1"},
            "licenses": [],
            "images": [{"id": 1, "file_name": file_name, "height": height, "width": width}],
            "categories": [
                {"id": info.id, "name": info.name, "supercategory": "", "color": list(info.color)}
                for info in objects.classes
            ],
            "annotations": [
                annotation_of(obj, objects.hw, polygons, number)
                for number, obj in enumerate(objects.items, start=1)
            ],
        }
    )


def annotation_of(
    obj: LabelledObject, hw: tuple[int, int], polygons: bool, number: int = 1
) -> dict[str, Any]:
    """Return the annotation of one object in an image of size (H, W); `polygons` as in `dump`."""
    rows, cols = obj.mask.slices
    entry = {
        "id": number,
        "image_id": 1,
        "category_id": obj.class_id,
        "segmentation": _outlines(obj.mask)
        if polygons
        else {"size": list(hw), "counts": encode_coco(obj.mask, hw)},
        "area": obj.mask.area_px,
        "bbox": [cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start],
        "iscrowd": 0,
        "sampath": {"number": obj.number, **obj.details},
    }
    if obj.details.get("score") is not None:
        entry["score"] = obj.details["score"]
    return entry


def _outlines(mask: LocalMask) -> list[list[int]]:
    outlines = (ring for part in rings.without_holes(mask) for (ring,) in rings.trace(part))
    # COCO's rings are not closed.
    return [[int(value) for value in ring[:-1].ravel()] for ring in outlines]


def write(export: Export, polygons: bool) -> Iterable[Output]:
    """Return the file of one image."""
    suffix = "polygons.coco.json" if polygons else "coco.json"
    yield Output(
        export.path(suffix),
        lambda stream: stream.write(dump(export.objects, export.file_name, polygons)),
    )
