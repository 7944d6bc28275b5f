"""CVAT XML 1.1 for images: one file for all images of a task, alone or in the zip that CVAT exports.

https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ and https://docs.cvat.ai/docs/other/xml_format/.
Shapes of one label and `group_id` are parts of one object; shapes with a higher `z_order` lie above others.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from ...arrays import LocalMask
from ...errors import UnknownNameError, refuse
from ...files.messages import plural
from ..class_numbers import FileClass
from ..foreign import choose_image
from ..format import Format, ImageEntry, ReadOptions, Shape, Shapes
from ..run_lengths import decode
from ..source import Source
from .corners import (
    ellipse,
    join_parts,
    no_area,
    reading_shape,
    rectangle,
    stated_size,
    to_color,
    to_corners,
    to_number,
    to_whole,
)
from .xml_reader import elements, root_of

_MEMBER = "annotations.xml"
_SHAPES = ("polygon", "box", "mask", "ellipse")
_NO_AREA = ("polyline", "points", "cuboid", "skeleton", "tag")


def recognises(source: Source) -> bool:
    """Return True for XML with the root <annotations>, or a zip with `annotations.xml`."""
    return _MEMBER in source.members or root_of(source.head) == "annotations"


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the shapes of one image, those with the lowest `z_order` first.

    Raises:
        ImageError: If there are several images and no name is given, or the file is for a video.
        UnknownNameError: If there is no image of that name.
    """
    entries, classes = _scan(source, options.image_name)
    return _read_image(
        entries[choose_image(_names(entries), options.image_name, source.path)], classes, source
    )


def images(source: Source) -> list[ImageEntry]:
    """List the images of a task."""
    return [
        ImageEntry(entry.get("name", ""), stated_size(entry.get("height"), entry.get("width"), source.path))
        for entry in _scan(source, None)[0]
    ]


def _scan(source: Source, name: str | None) -> tuple[list[Element], list[FileClass]]:
    """Return the images and the labels; only images that may have the given name keep their shapes."""
    classes: list[FileClass] = []
    entries: list[Element] = []
    tracks = 0
    packed = _MEMBER in source.members
    with io.BytesIO(source.read_member(_MEMBER)) if packed else source.open() as stream:
        for is_start, element in elements(stream, source.path):
            if is_start:
                tracks += element.tag == "track"
                if element.tag == "image":
                    entries.append(element)
            elif element.tag == "label" and element.findtext("name"):
                color = to_color(element.findtext("color"))
                classes.append(FileClass(element.findtext("name") or "", color=color))
            elif element.tag == "image" and len(entries) > 1 and not _may_be(element, name):
                del element[:]
    if not entries:
        problem = f"is for a video ({plural(tracks, 'track')})" if tracks else "has no images"
        refuse(source.path, problem, "export the task as 'CVAT for images 1.1'")
    return entries, classes


def _names(entries: list[Element]) -> list[str]:
    return [entry.get("name", "") for entry in entries]


def _may_be(image: Element, name: str | None) -> bool:
    if name is None:
        return False
    with contextlib.suppress(UnknownNameError):
        # Compare with a list of two images: a list of one would match without a comparison of names.
        return choose_image([image.get("name", ""), ""], name, Path()) == 0
    return False


def _read_image(image: Element, classes: list[FileClass], source: Source) -> Shapes:
    hw = stated_size(image.get("height"), image.get("width"), source.path)
    ordered: list[tuple[int, Any, Shape]] = []
    skipped: Counter[str] = Counter()
    malformed: list[str] = []
    for index, element in enumerate(image, start=1):
        with reading_shape(malformed, f"shape of the type '{element.tag}'", index):
            if element.tag in _SHAPES:
                group = element.get("group_id", "0")
                key = (element.get("label"), group) if group not in ("", "0") else index
                ordered.append((to_whole(element.get("z_order", "0")), key, _shape(element, hw)))
            elif element.tag in _NO_AREA:
                skipped[no_area(element.tag)] += 1
    parts: dict[Any, list[Shape]] = {}
    for _, key, shape in sorted(ordered, key=lambda entry: entry[0]):
        parts.setdefault(key, []).append(shape)
    items = [join_parts(group) for group in parts.values()]
    return Shapes(
        hw, items, classes, skipped=skipped, malformed=malformed, image=image.get("name"), is_ordered=True
    )


def _shape(element: Element, hw: tuple[int, int] | None) -> Shape:
    label = element.get("label", "")

    def numbers(*keys: str) -> list[float]:
        return [to_number(element.get(key)) for key in keys]

    if element.tag == "mask":
        return Shape(label, mask=_mask(element, hw))
    degrees = to_number(element.get("rotation", "0"))
    if element.tag == "box":
        left, top, right, bottom = numbers("xtl", "ytl", "xbr", "ybr")
        ring = rectangle((left, top), (right, bottom), degrees)
    elif element.tag == "ellipse":
        ring = ellipse(numbers("cx", "cy"), numbers("rx", "ry"), degrees)
    else:
        points = element.get("points", "").strip().strip(";").split(";")
        ring = to_corners([[to_number(value) for value in point.split(",")] for point in points])
        if len(ring) < 3:
            raise ValueError(f"a polygon needs at least 3 points, and it has {len(ring)}")
    return Shape(label, [[ring]])


def _mask(element: Element, hw: tuple[int, int] | None) -> LocalMask:
    """Decode run lengths, row by row, of the pixels in a rectangle."""
    left, top, width, height = (to_whole(element.get(key)) for key in ("left", "top", "width", "height"))
    limit = hw or (2**16, 2**16)
    if not (1 <= height <= limit[0] and 1 <= width <= limit[1]):
        raise ValueError(f"its mask has {width} x {height} px, and the image {limit[1]} x {limit[0]}")
    try:
        runs = np.array([int(run) for run in element.get("rle", "").split(",")], dtype=np.int64)
    except (ValueError, OverflowError):
        raise ValueError("its run lengths are not whole numbers") from None
    if runs.max(initial=0) > height * width:
        raise ValueError("its run lengths are longer than its rectangle")
    return LocalMask(top, left, decode(runs, (height, width)))


FORMATS = (
    Format(
        "cvat",
        "CVAT XML for images 1.1",
        (".xml", ".zip"),
        recognises,
        read,
        images=images,
        summary="Tasks of CVAT, as XML or zip; groups become objects of several parts, and the z-order is kept.",
        lost="Attributes, tags, points, lines, cuboids and skeletons.",
    ),
)
