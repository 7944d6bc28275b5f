"""ImageJ and Fiji ROIs: one `.roi` file, or the zip of the ROI Manager.

The file format is that of ImageJ's `ij/io/RoiDecoder.java`, read and written by `roifile`. Corners are those of pixel
edges: ImageJ draws the corner (0, 0) at the upper left corner of the first pixel, and a selection covers the pixels
whose centres lie inside it. The composite of several outlines ("ShapeRoi") covers what lies inside an odd number of
them.

The class of a ROI is the property that this package or QuPath stored (`qupath.object.classification`), else its group,
else its name without the number at the end that the ROI Manager appends; automatic names such as "0012-0034" stand for
no class. A group has the name that all its ROIs, and no others, have; otherwise it is called "group 3".
https://qupath.readthedocs.io/en/stable/docs/advanced/imagej.html explains how QuPath reads the files.
"""

from __future__ import annotations

import json
import re
import struct
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import LocalMask
from ...errors import refuse
from .. import rings
from ..class_numbers import FileClass
from ..format import Export, Format, Output, ReadOptions, Shape, Shapes
from ..source import Source
from .corners import MAX_COORDINATE, Corners, ellipse, no_area, reading_shape, rectangle, to_corners
from .imagej_classes import OWN, QUPATH_CLASS, class_names, properties_of

if TYPE_CHECKING:
    from roifile import ImagejRoi

_MAGIC = b"Iout"
_MAX_ROI_BYTES = 2**26
_DAMAGED = (ValueError, TypeError, LookupError, struct.error, RuntimeError, ArithmeticError, AssertionError)
_CURVE = np.linspace(0, 1, 33)[1:, None]
"""Curve parameters, 0 excluded, at which a Bezier curve is evaluated."""
_MOVE, _LINE, _QUADRATIC, _CUBIC, _CLOSE = range(5)


def recognises(source: Source) -> bool:
    """Return True for a ROI, or a zip with ROIs."""
    return source.head.startswith(_MAGIC) or any(_is_roi(name) for name in source.members)


def read(source: Source, options: ReadOptions) -> Shapes:
    """Decode the ROIs that have an area.

    If ROIs lie on several slices of a stack, only those on the first of these slices or without a slice are read.

    Raises:
        ImageError: If there is no ROI, or the file is damaged.
    """
    shapes = Shapes()
    rois: list[tuple[str, ImagejRoi]] = []
    for name, content in _contents(source):
        with reading_shape(shapes.malformed, "ROI", name):
            rois.append((name, _decode(content)))
    if not rois and not shapes.malformed:
        refuse(source.path, "has no ROI", "save the ROIs again")
    first = min((place for _, roi in rois if (place := _slice(roi)) > (0, 0)), default=(0, 0))
    chosen = [(name, roi) for name, roi in rois if _slice(roi) <= first]
    class_of = class_names([(name, roi) for name, roi in chosen if not _no_area(roi)], shapes.notes)
    groups: dict[str, int | None] = {}
    rounded = 0
    for name, roi in chosen:
        with reading_shape(shapes.malformed, "ROI", name):
            kind = _no_area(roi)
            if kind:
                shapes.skipped[no_area(kind)] += 1
                continue
            shape = _shape(roi, class_of(name, roi))
            shapes.items.append(shape)
            groups.setdefault(shape.class_name, roi.group or None)
            rounded += roi.rounded_rect_arc_size > 0 and _kind(roi) == "RECT"
    shapes.classes = [FileClass(name, group) for name, group in groups.items()]
    if others := len(rois) - len(chosen):
        shapes.notes.append(f"{others} ROIs of other slices than slice {first[1]} were left out.")
    if rounded:
        shapes.notes.append(f"{rounded} rectangles with rounded corners were read with square corners.")
    return shapes


def write(export: Export) -> list[Output]:
    """Encode the objects of an image as the zip of ImageJ's ROI Manager, with classes as groups and for QuPath."""
    names = {info.id: info for info in export.classes}

    def write_zip(stream: Any) -> None:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for index, obj in enumerate(export.objects.items, start=1):
                info = names[obj.class_id]
                roi = _encode(obj.mask)
                label = re.sub(r"[\\/:*?\"<>|\x00-\x1f]", "_", _basic(info.name))
                roi.name = f"{label}-{index}"
                roi.group = info.id
                roi.stroke_color = bytes([255, *info.color])
                details = json.dumps({"class": info.name, "number": obj.number, **obj.details})
                roi.props = f"{QUPATH_CLASS}: {_basic(info.name)}\n{OWN}: {details}\n"
                # A fixed date, so that repeated exports give the same file.
                archive.writestr(zipfile.ZipInfo(f"{roi.name}.roi"), roi.tobytes())

    return [Output(export.path("RoiSet.zip"), write_zip)]


def _is_roi(name: str) -> bool:
    file = name.rpartition("/")[2]
    return file.lower().endswith(".roi") and not file.startswith("._")


def _contents(source: Source) -> Iterator[tuple[str, bytes]]:
    if not source.members:
        yield source.path.stem, source.content
        return
    members = [member for member in source.members if _is_roi(member)]
    for member, content in zip(members, source.read_members(members, _MAX_ROI_BYTES), strict=True):
        yield member.rpartition("/")[2][:-4], content


def _decode(content: bytes) -> ImagejRoi:
    from roifile import ImagejRoi

    try:
        return ImagejRoi.frombytes(content)
    except _DAMAGED:
        raise ValueError("it is damaged") from None


def _slice(roi: ImagejRoi) -> tuple[int, int]:
    """Return the time point and slice of a ROI, from 1; 0 if it has none. All channels of a slice are one image."""
    return max(roi.t_position, 0), max(roi.z_position or roi.position, 0)


def _kind(roi: ImagejRoi) -> str:
    return str(getattr(roi.roitype, "name", ""))


def _no_area(roi: ImagejRoi) -> str:
    """Return the kind of a ROI that has no area; "" for one that has."""
    subtype = str(getattr(roi.subtype, "name", ""))
    if subtype in ("TEXT", "IMAGE", "ARROW"):
        return subtype.lower()
    kind = _kind(roi)
    return "" if kind in ("POLYGON", "FREEHAND", "TRACED", "RECT", "OVAL") else kind.lower() or "unknown ROI"


def _shape(roi: ImagejRoi, class_name: str) -> Shape:
    own = {key: value for key, value in properties_of(roi)[1].items() if key != "class"}
    number = own.pop("number", None)
    color = tuple(roi.stroke_color[1:]) if any(roi.stroke_color) else None
    return Shape(
        class_name,
        [_outlines(roi)],
        number=number if isinstance(number, int) else None,
        details=own,
        color=color if color is None else (color[0], color[1], color[2]),
    )


def _outlines(roi: ImagejRoi) -> list[Corners]:
    """Return the rings of a ROI, which enclose its area by the even-odd rule."""
    if roi.composite and roi.multi_coordinates is not None:
        path = np.asarray(roi.multi_coordinates, dtype=np.float64)
        if not (np.abs(path) <= MAX_COORDINATE).all():
            raise ValueError("its path has a coordinate that is not between -1e7 and 1e7")
        return _path(path.tolist())
    if roi.subpixelrect:
        left, top, width, height = roi.xd, roi.yd, roi.widthd, roi.heightd
    else:
        left, top, width, height = roi.left, roi.top, roi.right - roi.left, roi.bottom - roi.top
    ((left, top), (width, height)) = to_corners([[left, top], [width, height]])
    if _kind(roi) == "RECT":
        return [rectangle((left, top), (left + width, top + height))]
    if _kind(roi) == "OVAL":
        return [ellipse((left + width / 2, top + height / 2), (width / 2, height / 2))]
    points = roi.coordinates()
    if len(points) < 3:
        raise ValueError(f"it has {len(points)} corners, but an outline needs 3")
    return [to_corners(points)]


def _path(values: list[float]) -> list[Corners]:
    """Convert a path of moves, lines and curves to rings."""
    outlines: list[list[Corners]] = []
    index = 0
    while index < len(values):
        operation = values[index]
        count = {_MOVE: 1, _LINE: 1, _QUADRATIC: 2, _CUBIC: 3, _CLOSE: 0}.get(int(operation))
        if count is None or index + 1 + 2 * count > len(values) or not (outlines or operation == _MOVE):
            raise ValueError("its path is damaged")
        points = np.array(values[index + 1 : index + 1 + 2 * count]).reshape(-1, 2)
        index += 1 + 2 * count
        if operation == _MOVE:
            outlines.append([points])
        elif count > 1:
            outlines[-1].append(_bezier(np.concatenate([outlines[-1][-1][-1:], points])))
        elif count:
            outlines[-1].append(points)
    joined = [np.concatenate(parts) for parts in outlines]
    return [ring for ring in joined if len(ring) >= 3]


def _bezier(control: Corners) -> Corners:
    """Evaluate a quadratic or cubic Bezier curve with control points (3 or 4, 2)."""
    points = control[:, None, :]
    while len(points) > 1:
        points = (1 - _CURVE) * points[:-1] + _CURVE * points[1:]
    curve: Corners = points[0]
    return curve


def _encode(mask: LocalMask) -> ImagejRoi:
    from roifile import ROI_TYPE, ImagejRoi

    outlines = [ring for polygon in rings.trace(mask) for ring in polygon]
    if len(outlines) == 1:
        # Whole numbers beyond the range of 16 bits are stored as floats by `frompoints`.
        roi = ImagejRoi.frompoints(outlines[0][:-1])
        roi.roitype = ROI_TYPE.TRACED
        return roi
    path: list[float] = []
    for ring in outlines:
        first, *others = ring[:-1].tolist()
        path += [_MOVE, *first]
        for point in others:
            path += [_LINE, *point]
        path.append(_CLOSE)
    rows, cols = mask.slices
    values = np.asarray(path, dtype=np.float32)
    return ImagejRoi(
        roitype=ROI_TYPE.RECT,
        top=rows.start,
        left=cols.start,
        bottom=rows.stop,
        right=cols.stop,
        shape_roi_size=values.size,
        multi_coordinates=values,
    )


def _basic(text: str) -> str:
    """Replace line ends, and characters beyond the basic plane, of which `roifile` miscounts the UTF-16 length."""
    return "".join(
        letter
        if letter.isprintable() and ord(letter) < 0x10000 and not 0xD800 <= ord(letter) < 0xE000
        else "_"
        for letter in text
    )


FORMATS = (
    Format(
        "imagej",
        "ImageJ ROIs",
        (".roi", ".zip"),
        recognises,
        read,
        write=write,
        keeps=frozenset(
            {"pixels", "objects", "object numbers", "class numbers", "class names", "colours", "details"}
        ),
        summary="ROIs of ImageJ and Fiji, with classes as groups; QuPath reads the classes as well.",
        lost="Lines, angles, points and texts are not read.",
    ),
)
