"""COCO JSON: objects with run lengths or polygons; https://cocodataset.org/#format-data.

Written files contain one image; files that are read may contain any number. Data that COCO does not define is stored
in members that other readers ignore: "color" of a category, "sampath" of an annotation.

`training/data/readers/coco.py` reads COCO files as training datasets with the functions of this module.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...arrays import LocalMask
from ...errors import DatasetError, SampathError, UnknownNameError
from ...registry import join_names, unknown_name
from .. import rings
from ..foreign import ClassTable, dump_json, parse_color, parse_ring, refuse
from ..objects import LabelledObject, Objects
from ..run_lengths import decode_coco, encode_coco, unpack_coco

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CocoContent:
    """The lists of a COCO file, with annotations grouped by image."""

    images: Sequence[Mapping[str, Any]]
    categories: Mapping[int, Mapping[str, Any]]
    """Category id -> category."""
    annotations: Mapping[Any, Sequence[dict[str, Any]]]
    """Image id -> its annotations; empty for an image without any."""

    @classmethod
    def of(cls, content: Any) -> CocoContent:
        """Group the parsed JSON of a COCO file.

        Raises:
            LookupError, TypeError, ValueError, AttributeError: If it does not have the layout of COCO.
        """
        categories = {int(category["id"]): category for category in content["categories"]}
        annotations: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for entry in content["annotations"]:
            annotations[entry["image_id"]].append(entry)
        return cls(list(content["images"]), categories, annotations)


def dump(objects: Objects, name: str, polygons: bool) -> bytes:
    """Encode the objects of one image as COCO JSON.

    Args:
        objects: The objects of one image.
        name: Name of the image.
        polygons: Encode outlines along pixel edges instead of uncompressed run lengths. COCO polygons have no holes, so
            an object with holes is cut into parts without holes; reading them gives the same pixels.
    """
    height, width = objects.hw
    annotations = []
    for number, obj in enumerate(objects.items, start=1):
        rows, cols = obj.mask.slices
        entry = {
            "id": number,
            "image_id": 1,
            "category_id": obj.class_id,
            "segmentation": _outlines(obj.mask) if polygons else _runs(obj.mask, objects.hw),
            "area": obj.mask.area_px,
            "bbox": [cols.start, rows.start, cols.stop - cols.start, rows.stop - rows.start],
            "iscrowd": 0,
            "sampath": {"number": obj.number, **obj.details},
        }
        if obj.details.get("score") is not None:
            entry["score"] = obj.details["score"]
        annotations.append(entry)
    return dump_json(
        {
            "info": {"description": name, "version": "1"},
            "licenses": [],
            "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
            "categories": [
                {"id": info.id, "name": info.name, "supercategory": "", "color": list(info.color)}
                for info in objects.classes
            ],
            "annotations": annotations,
        }
    )


def parse(content: Any, path: Path, name: str | None = None) -> Objects:
    """Decode the objects of one image of a COCO file.

    Args:
        content: The parsed JSON.
        path: For error messages.
        name: Name of the image (with or without suffix), if there are several.

    Raises:
        ImageError: If it is not a COCO file, has several images and no name is given, a segmentation is missing or
            malformed, or no annotation covers a pixel.
        UnknownNameError: If it has several images and none of that name.
        ClassListError: If it has more than 255 categories.
    """
    try:
        parsed = CocoContent.of(content)
        image = _choose_image(parsed.images, path, name)
        hw = int(image["height"]), int(image["width"])
        entries = parsed.annotations.get(image["id"], [])
    except SampathError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError):
        refuse(path, "lacks the images, categories or annotations of a COCO file", "export it again")
    table = ClassTable()
    ids = {}
    for number, category in parsed.categories.items():
        ids[number] = table.id_of(
            str(category.get("name", number)), parse_color(category.get("color")), number
        )
    items = []
    for index, entry in enumerate(entries, start=1):
        try:
            mask = decode_segmentation(entry["segmentation"], hw)
            class_id = ids[int(entry["category_id"])]
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            reason = (
                str(error) if isinstance(error, DatasetError) else "its segmentation or category is malformed"
            )
            refuse(
                path,
                f"has an annotation {entry.get('id', index)} that cannot be read: {reason}",
                "export it again",
            )
        if mask.bitmap.size:
            items.append(_item(entry, index, class_id, mask))
    if entries and not items:
        refuse(path, f"has {len(entries)} annotations, but none covers a pixel", "export masks, not boxes")
    if len(items) < len(entries):
        logger.warning("%s: %d annotations without a pixel were skipped.", path, len(entries) - len(items))
    return Objects(hw, table.classes, tuple(items))


def _item(entry: dict[str, Any], index: int, class_id: int, mask: LocalMask) -> LabelledObject:
    stored = entry.get("sampath")
    details = dict(stored) if isinstance(stored, dict) else {}
    number = details.pop("number", index)
    score = entry.get("score")
    if "score" not in details and isinstance(score, int | float):
        details["score"] = float(score)
    return LabelledObject(number if isinstance(number, int) else index, class_id, mask, details)


def _choose_image(images: Sequence[Mapping[str, Any]], path: Path, name: str | None) -> Any:
    if len(images) == 1:
        return images[0]
    names = [str(image["file_name"]) for image in images]
    if not names:
        refuse(path, "has no images", "export it again")
    if name is None:
        refuse(path, f"holds annotations of {len(names)} images ({join_names(names)})", "name one of them")
    for image, file in zip(images, names, strict=True):
        if name in (file, Path(file).name, Path(file).stem):
            return image
    raise UnknownNameError(unknown_name(f"image in '{path}'", name, names))


def _runs(mask: LocalMask, hw: tuple[int, int]) -> dict[str, Any]:
    return {"size": list(hw), "counts": encode_coco(mask, hw)}


def _outlines(mask: LocalMask) -> list[list[int]]:
    outlines = (ring for part in rings.without_holes(mask) for (ring,) in rings.trace(part))
    # COCO's rings are not closed.
    return [[int(value) for value in ring[:-1].ravel()] for ring in outlines]


def decode_segmentation(segmentation: Any, hw: tuple[int, int]) -> LocalMask:
    """Decode the "segmentation" of an annotation: polygons, run lengths, or run lengths compressed to a string.

    Raises:
        DatasetError: If the run lengths are those of an image of another size.
        LookupError, TypeError, ValueError, AttributeError: If it has none of these layouts.
    """
    if isinstance(segmentation, list):
        return rings.fill([[parse_ring(ring)] for ring in segmentation], hw)
    counts = segmentation["counts"]
    if tuple(segmentation.get("size", hw)) != hw:
        raise DatasetError(f"its size {segmentation['size']} is not the image's {list(hw)}")
    return decode_coco(unpack_coco(counts) if isinstance(counts, str) else np.asarray(counts), hw)
