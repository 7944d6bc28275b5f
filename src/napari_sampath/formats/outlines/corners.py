"""Checked numbers and corners of shapes in files of other programs.

Coordinates are those of pixel edges: pixel (row i, column j) is the square from (x, y) = (j, i) to (j + 1, i + 1), and
a shape covers the pixels whose centres lie inside it. labelme, CVAT, QuPath, ImageJ, ASAP and `pycocotools` use the
same convention.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ...arrays import LocalMask
from ...errors import ImageError, SampathError
from ...files import JsonError
from ...rasters import check_pixels
from ..foreign import Color
from ..format import Shape

Corners = npt.NDArray[np.float64]
"""(N, 2) corners (x, y) in pixels of the file's image."""

MAX_COORDINATE = 1e7
"""Largest coordinate in pixels; the largest slides have some hundred thousand."""
_MAX_REASON = 200
"""Longest reason in an error message, in characters; Python quotes whole values in some of its messages."""
_MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@contextlib.contextmanager
def reading_shape(malformed: list[str], noun: str, index: Any) -> Iterator[None]:
    """Leave out a shape that a `with` block finds malformed.

    Args:
        malformed: Extended by the shape and the reason, see `Shapes.malformed`.
        noun: What the format calls a shape.
        index: Its number or name.

    Raises:
        SampathError: If the block raises one, for problems that concern the whole file.
    """
    try:
        yield
    except SampathError:
        raise
    except _MALFORMED as error:
        # Only messages of ValueErrors are written for users; that of a KeyError is only a name.
        is_message = type(error) in (ValueError, JsonError)
        text = str(error) if is_message and len(str(error)) < _MAX_REASON and str(error).isprintable() else ""
        malformed.append(f"{noun} {index}: {text.rstrip('.') or 'a value is missing or malformed'}")


def to_corners(values: Any) -> Corners:
    """Convert points [[x, y], ...] or [x, y, x, y, ...] to (N, 2) float64.

    Raises:
        ValueError: If a point is malformed, or a coordinate is not finite or beyond `MAX_COORDINATE`.
    """
    if isinstance(values, list | tuple) and values and isinstance(values[0], list | tuple):
        values = [point[:2] for point in values]  # Drop the z coordinate.
    try:
        array = np.asarray(values)
    except (ValueError, OverflowError):
        _refuse_points()
    if array.size and (array.dtype.kind not in "iuf" or array.size % 2):
        _refuse_points()
    points = array.astype(np.float64).reshape(-1, 2)
    # The comparison is also False for NaN.
    valid = np.abs(points) <= MAX_COORDINATE
    if not valid.all():
        raise ValueError(f"its coordinate {points[~valid][0]:g} is not between -1e7 and 1e7")
    return points


def to_number(value: Any) -> float:
    """Convert a number, or its text with a decimal point or comma.

    Raises:
        ValueError: If it is no number, or not finite or beyond `MAX_COORDINATE`.
    """
    text = str(value)[:40]
    try:
        if not isinstance(value, int | float | str) or isinstance(value, bool):
            raise ValueError
        result = float(value.replace(",", ".") if isinstance(value, str) else value)
    except (ValueError, OverflowError):
        raise ValueError(f"'{text}' is not a number") from None
    if not abs(result) <= MAX_COORDINATE:
        raise ValueError(f"{text} is not between -1e7 and 1e7")
    return result


def to_whole(value: Any) -> int:
    """Convert a whole number or its text.

    Raises:
        ValueError: As `to_number`, or if it is not whole.
    """
    result = to_number(value)
    if result != int(result):
        raise ValueError(f"{value} is not a whole number")
    return int(result)


def stated_size(height: Any, width: Any, path: Path) -> tuple[int, int] | None:
    """Return the image size (H, W) that a file states; None if it states none.

    Raises:
        ImageError: If it is not positive whole numbers.
    """
    if height is None or width is None:
        return None
    with contextlib.suppress(ValueError):
        size = to_whole(height), to_whole(width)
        if min(size) >= 1:
            return size
    raise ImageError(
        f"'{path}' gives the image size {str(width)[:20]} x {str(height)[:20]} px (width x height); it must be "
        "positive whole numbers: correct it or export the file again."
    )


def rectangle(first: Any, second: Any, degrees: float = 0.0) -> Corners:
    """Return the ring of a rectangle from two opposite corners (x, y), rotated clockwise about its centre."""
    (x0, y0), (x1, y1) = first, second
    return _rotate(np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], dtype=np.float64), degrees)


def ellipse(centre: Any, radii: Any, degrees: float = 0.0) -> Corners:
    """Approximate an ellipse by a ring that deviates by less than a hundredth of a pixel.

    Args:
        centre: (x, y).
        radii: Half the width and half the height.
        degrees: Clockwise rotation about the centre.
    """
    lengths = np.abs(np.asarray(radii, dtype=np.float64))
    # The arc between two corners of a circle of radius r rises above their chord by r * angle ** 2 / 8.
    count = int(np.clip(2 * np.pi / np.sqrt(0.08 / max(lengths.max(), 1.0)), 32, 65_536))
    angles = (np.arange(count) + 0.5) * (2 * np.pi / count)
    ring = np.asarray(centre, dtype=np.float64) + lengths * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return _rotate(ring, degrees)


def to_color(text: Any) -> Color | None:
    """Convert "#rrggbb" to a colour; return None for other values."""
    if isinstance(text, str) and len(text) == 7 and text.startswith("#"):
        with contextlib.suppress(ValueError):
            packed = int(text[1:], 16)
            return packed >> 16 & 255, packed >> 8 & 255, packed & 255
    return None


def no_area(kind: str) -> str:
    """Return the reason for leaving out a shape of a kind such as "point"."""
    return f"shapes without an area, of the type '{kind}'"


def join_parts(parts: list[Shape]) -> Shape:
    """Join shapes to one object with the class, number and details of the first."""
    if len(parts) == 1:
        return parts[0]
    masks = [
        part.mask if isinstance(part.mask, LocalMask) else part.mask.decode()
        for part in parts
        if part.mask is not None
    ]
    polygons = [polygon for part in parts for polygon in part.polygons]
    return replace(parts[0], polygons=polygons, mask=_unite(masks) if masks else None)


class Boxes:
    """The bounding boxes of many rings."""

    def __init__(self, outlines: Sequence[Corners]) -> None:
        self._low = np.array([ring.min(axis=0) for ring in outlines]).reshape(-1, 2)
        self._high = np.array([ring.max(axis=0) for ring in outlines]).reshape(-1, 2)

    def overlapping(self, ring: Corners, count: int | None = None) -> list[int]:
        """Return the indices of the boxes, of the first `count` if given, that overlap the box of a ring."""
        low, high = self._low[:count], self._high[:count]
        indices = np.flatnonzero(((low < ring.max(axis=0)) & (ring.min(axis=0) < high)).all(axis=1))
        return [int(index) for index in indices]


def _unite(masks: list[LocalMask]) -> LocalMask:
    boxes = [mask.slices for mask in masks]
    top, left = min(rows.start for rows, _ in boxes), min(cols.start for _, cols in boxes)
    bottom, right = max(rows.stop for rows, _ in boxes), max(cols.stop for _, cols in boxes)
    check_pixels(bottom - top, right - left, "a group of masks")
    joined = np.zeros((bottom - top, right - left), dtype=np.bool_)
    for mask, (rows, cols) in zip(masks, boxes, strict=True):
        joined[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] |= mask.bitmap
    return LocalMask(top, left, joined)


def _rotate(ring: Corners, degrees: float) -> Corners:
    if not degrees:
        return ring
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centre = (ring.min(axis=0) + ring.max(axis=0)) / 2
    # y points down, so this rotation is clockwise on the screen.
    rotated: Corners = (ring - centre) @ np.array([[cos, sin], [-sin, cos]]) + centre
    return rotated


def _refuse_points() -> NoReturn:
    raise ValueError("its points are not pairs of numbers")
