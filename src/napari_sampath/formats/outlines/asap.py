"""ASAP XML: the annotations of one slide, as in the CAMELYON data sets.

https://github.com/computationalpathologygroup/ASAP, `annotation/XmlRepository.cpp`. The class of an annotation is its
group. Coordinates are pixels of the slide at full size, and the file does not contain the size of the slide.
"""

from __future__ import annotations

from collections import Counter
from xml.etree.ElementTree import Element

from ...files.messages import plural
from ..class_numbers import FileClass
from ..format import Format, ReadOptions, Shape, Shapes
from ..source import Source
from .corners import Corners, no_area, reading_shape, to_color, to_corners, to_number
from .xml_reader import elements, root_of

_AREAS = ("polygon", "spline", "rectangle", "none")
_UNGROUPED = "None"


def recognises(source: Source) -> bool:
    """Return True for XML with the root <ASAP_Annotations>."""
    return root_of(source.head) == "ASAP_Annotations"


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the annotations of a slide.

    Raises:
        ImageError: If the file is damaged.
    """
    items: list[Shape] = []
    malformed: list[str] = []
    skipped: Counter[str] = Counter()
    classes: list[FileClass] = []
    splines = index = 0
    with source.open() as stream:
        for is_start, element in elements(stream, source.path):
            if is_start:
                continue
            if element.tag == "Group":
                classes.append(FileClass(element.get("Name", ""), color=to_color(element.get("Color"))))
            elif element.tag == "Annotation":
                index += 1
                kind = element.get("Type", "Polygon").lower()
                if kind not in _AREAS:
                    skipped[no_area(kind)] += 1
                else:
                    with reading_shape(malformed, "annotation", element.get("Name") or index):
                        ring = _ring(element)
                        if len(ring) < 3:
                            skipped["outlines of fewer than 3 points"] += 1
                        else:
                            splines += kind == "spline"
                            items.append(_shape(element, ring))
                element.clear()
    notes = [f"Read as polygons through their points: {plural(splines, 'spline')}."] if splines else []
    return Shapes(items=items, classes=classes, skipped=skipped, malformed=malformed, notes=notes)


def _ring(annotation: Element) -> Corners:
    points = [
        (to_number(point.get("Order", str(index))), to_number(point.get("X")), to_number(point.get("Y")))
        for index, point in enumerate(annotation.iter("Coordinate"))
    ]
    return to_corners([[x, y] for _, x, y in sorted(points, key=lambda point: point[0])])


def _shape(annotation: Element, ring: Corners) -> Shape:
    group = annotation.get("PartOfGroup", _UNGROUPED)
    return Shape(
        "" if group == _UNGROUPED else group, polygons=[[ring]], color=to_color(annotation.get("Color"))
    )


FORMATS = (
    Format(
        "asap",
        "ASAP XML",
        (".xml",),
        recognises,
        read,
        summary="Annotations of slides, as in the CAMELYON data sets; groups become classes.",
        lost="Names, points and measurements.",
    ),
)
