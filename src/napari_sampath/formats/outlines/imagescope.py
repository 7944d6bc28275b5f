"""Aperio ImageScope XML: the annotations of one slide, as in the MoNuSeg data set; also those of HALO.

https://openslide.org/formats/aperio/ describes the slides of this program. The XML elements are Annotation (a layer
with a colour), Region and Vertex. HALO (`.annotations`) writes V instead of Vertex, and the names of the types of
regions instead of numbers. A layer is a class: its name, else the description among its attributes, else the
text of its regions, else its number. A region with `NegativeROA="1"` is cut out of the other regions of its layer.
Colours are packed as blue, green, red. Coordinates are pixels of the slide at full size, and the file does not contain
the size of the slide.
"""

from __future__ import annotations

from collections import Counter
from xml.etree.ElementTree import Element

from ..foreign import Color
from ..format import Format, ReadOptions, Shape, Shapes
from ..source import Source
from .corners import Boxes, Corners, ellipse, no_area, reading_shape, rectangle, to_corners, to_number
from .xml_reader import elements, root_of

_FREEHAND, _RECTANGLE, _ELLIPSE = "0", "1", "2"
_NAMED = {"polygon": _FREEHAND, "rectangle": _RECTANGLE, "ellipse": _ELLIPSE}
"""Names of the types in files of HALO."""
_KINDS = {"3": "arrow", "4": "ruler", "5": "pointer"}
"""Types of regions without an area."""


def recognises(source: Source) -> bool:
    """Return True for XML with the root <Annotations>."""
    return root_of(source.head) == "Annotations"


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the regions of all layers of a slide.

    Raises:
        ImageError: If the file is damaged.
    """
    items: list[Shape] = []
    malformed: list[str] = []
    skipped: Counter[str] = Counter()
    regions: list[tuple[str, Corners]] = []
    holes: list[Corners] = []
    with source.open() as stream:
        for is_start, element in elements(stream, source.path):
            if element.tag == "Annotation" and is_start:
                regions, holes = [], []
            elif element.tag == "Region" and not is_start:
                with reading_shape(malformed, "region", element.get("Id", "?")):
                    ring = _ring(element, skipped)
                    if ring is not None and element.get("NegativeROA") == "1":
                        holes.append(ring)
                    elif ring is not None:
                        regions.append((element.get("Text", ""), ring))
                element.clear()
            elif element.tag == "Annotation":
                items += _layer(element, regions, holes, skipped)
                element.clear()
    return Shapes(items=items, skipped=skipped, malformed=malformed)


def _ring(region: Element, skipped: Counter[str]) -> Corners | None:
    """Return the outline of a region, or None if it has no area."""
    kind = region.get("Type", _FREEHAND).strip().casefold()
    kind = _NAMED.get(kind, kind)
    if kind not in (_FREEHAND, _RECTANGLE, _ELLIPSE):
        skipped[no_area(_KINDS.get(kind, kind))] += 1
        return None
    vertices = (vertex for vertex in region.iter() if vertex.tag in ("Vertex", "V"))
    points = to_corners([[to_number(vertex.get("X")), to_number(vertex.get("Y"))] for vertex in vertices])
    if len(points) < (3 if kind == _FREEHAND else 2):
        skipped["outlines of too few points"] += 1
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    if kind == _ELLIPSE:
        return ellipse((low + high) / 2, (high - low) / 2)
    return rectangle(low, high) if kind == _RECTANGLE and len(points) == 2 else points


def _layer(
    annotation: Element, regions: list[tuple[str, Corners]], holes: list[Corners], skipped: Counter[str]
) -> list[Shape]:
    """Return the regions of a layer with their class and colour, and without its holes."""
    described = [
        attribute.get("Value", "")
        for attribute in annotation.iterfind("Attributes/Attribute")
        if attribute.get("Name", "").casefold() in ("description", "name", "label")
    ]
    names = [name for name in (annotation.get("Name", ""), *described) if name.strip()]
    color = _color(annotation.get("LineColor"))
    cut: list[list[list[Corners]]] = [[] for _ in regions]
    boxes = Boxes([ring for _, ring in regions])
    for hole in holes:
        found = boxes.overlapping(hole)
        for index in found:
            cut[index].append([hole])
        if not found:
            skipped["holes outside the regions of their layer"] += 1
    return [
        Shape(
            names[0] if names else text.strip() or f"layer {annotation.get('Id', '1')}",
            [[ring]],
            holes=own,
            color=color,
        )
        for (text, ring), own in zip(regions, cut, strict=True)
    ]


def _color(text: str | None) -> Color | None:
    if text is None or not text.isdecimal() or len(text) > 10:
        return None
    packed = int(text)
    return packed & 255, packed >> 8 & 255, packed >> 16 & 255


FORMATS = (
    Format(
        "imagescope",
        "Aperio ImageScope XML",
        (".xml", ".annotations"),
        recognises,
        read,
        summary="Annotations of Aperio slides, also of HALO; layers become classes, negative regions holes.",
        lost="Measurements, arrows and rulers.",
    ),
)
