"""Conversion of the shapes of a file to objects: class numbers, position, overlaps, and what is left out.

Rules, for all formats:

- A pixel belongs to a polygon if its centre lies inside.
- Where objects overlap, the smaller one is on top, unless the file states an order or `ReadOptions.overlap` is
  "file-order". An object that others cover completely is left out.
- Parts outside the image are cut off.
- What is cut off, covered or left out is counted in `Objects.notes`.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import LocalMask
from ...errors import ImageError
from ...files.messages import plural, plural_of
from .. import rings
from ..class_numbers import MAX_CLASSES, FileClass, add_to_table
from ..format import Point, ReadOptions, Shape, Shapes
from ..objects import LabelledObject, Objects, visible_areas
from .marked_points import LEFT_OUT, marked_points, skip_points
from .placement import EMPTY, Placement, place

if TYPE_CHECKING:
    from ..rings import Ring

MAX_NUMBER = 2**31 - 1
_MASK_PX = 2**28
"""Limit of the total area of all bounding boxes in pixels, for small images and images of unknown size."""
_MOST_MASK_PX = 2**32
"""Limit of the total area of all bounding boxes in pixels, for images of any size."""
_MASK_IMAGES = 16
"""Limit of the total area of all bounding boxes for large images, as a multiple of the area of the image."""
_PX_PER_CROSSING = 32
"""Cost of one crossing of an outline with a pixel row, expressed as a number of filled pixels."""
_IGNORED = "areas without an outline or marked to be ignored"
_UNREADABLE = "that cannot be read"
_OUTSIDE_POINTS = "points outside the image"
_OUTSIDE, _CUT, _EMPTY, _COVERED = "outside the image", "cut", "smaller than a pixel", "covered by others"


def paint(shapes: Shapes, options: ReadOptions, path: Path) -> Objects:
    """Convert the shapes of a file to the objects of an image.

    Args:
        shapes: The content of the file.
        options: The size of the image, and how to place and order the shapes.
        path: For error messages.

    Raises:
        ImportChoiceError: If the file is for an image of another size, or has points, and the options do not specify
            what to do.
        ImageError: If the file has annotations, but none can be imported, or they do not fit in memory.
        ClassListError: If there are more than 255 classes.
    """
    placement = place(shapes.hw, options, path)
    skip_points(shapes, options, path)
    numbers, classes, notes = _number_classes(shapes)
    budget = _Budget(options.hw, path)  # The size that the file states may be wrong.
    counts: Counter[str] = Counter()
    items = []
    for shape in shapes.items:
        mask = _rasterise(shape, placement, budget, counts)
        if mask.bitmap.size:
            number = -1 if shape.number is None else shape.number
            items.append(LabelledObject(number, numbers[shape.class_name], mask, shape.details))
            budget.check_count(len(items))
    items = _number_objects(items)
    items = _order(items, shapes, options, counts)
    points = marked_points(shapes, numbers, placement)
    counts[_OUTSIDE_POINTS] += len(shapes.points) - len(points)
    total = len([*shapes.items, *shapes.points, *shapes.ignored, *shapes.malformed])
    total += shapes.skipped.total()
    if total and not items and not points:
        raise _nothing_left(path, total, counts, shapes, placement)
    ignored = [_rasterise(shape, placement, budget, Counter()) for shape in shapes.ignored]
    notes += _sentences(counts, shapes, options, len(ignored))
    hw = placement.hw or _extent([obj.mask for obj in items])
    areas = tuple(mask for mask in ignored if mask.bitmap.size)
    return Objects(hw, classes, tuple(items), tuple(notes), areas, tuple(points))


class _Budget:
    """Limit of the work, which depends on the size of the image and not on that of the file."""

    def __init__(self, hw: tuple[int, int] | None, path: Path) -> None:
        image_px = 0 if hw is None else hw[0] * hw[1]
        self._objects = image_px or _MASK_PX
        self._limit = min(max(_MASK_PX, _MASK_IMAGES * image_px), _MOST_MASK_PX)
        self._used = 0
        self._path = path

    def spend(self, pixels: float) -> None:
        """Add the pixels of an object to the total.

        Raises:
            ImageError: If the total exceeds the limit.
        """
        self._used += int(pixels)
        if self._used > self._limit:
            raise ImageError(
                f"The objects of '{self._path}' cover more than {self._limit:,} px together; "
                "check that it belongs to this image, or split it."
            )

    def check_count(self, objects: int) -> None:
        """Raise an `ImageError` for more objects than pixels; some would then have no visible pixel."""
        if objects > self._objects:
            raise ImageError(
                f"'{self._path}' has more objects than the image has pixels ({self._objects:,}); check that it belongs "
                "to this image."
            )


def _number_classes(shapes: Shapes) -> tuple[dict[str, int], tuple[Any, ...], list[str]]:
    """Return the number of each class name, the classes, and notes."""
    named: list[Shape | Point] = [*shapes.items, *shapes.points]
    colors = {shape.class_name: shape.color for shape in reversed(named) if shape.color}
    given = [dataclasses.replace(item, color=item.color or colors.get(item.name)) for item in shapes.classes]
    listed = {item.name for item in given}
    for shape in named:
        if shape.class_name not in listed:
            listed.add(shape.class_name)
            given.append(FileClass(shape.class_name, color=shape.color))
    notes = list(shapes.notes)
    if len(given) > MAX_CLASSES:
        used = {shape.class_name for shape in named}
        notes.append(
            f"The file lists {len(given):,} classes; only the {len(used):,} that its annotations have were read."
        )
        given = [item for item in given if item.name in used]
    numbered = add_to_table((), given)
    numbers: dict[str, int] = {}
    for item, number in zip(given, numbered.numbers, strict=True):
        numbers.setdefault(item.name, number)
    return numbers, numbered.classes, [*notes, *numbered.notes]


def _rasterise(shape: Shape, placement: Placement, budget: _Budget, counts: Counter[str]) -> LocalMask:
    """Return the pixels of a shape in the image; if there are none, return an empty mask and count the reason."""
    parts: list[LocalMask] = []
    states: set[str] = set()
    polygons = [[placement.points(ring) for ring in polygon] for polygon in shape.polygons]
    if (box := rings.bounds(polygons)) is not None:
        states.add(_state(box, placement.hw))
        height, width = _size(box, placement.hw)
        budget.spend(height * width)
        _spend_filling(polygons, placement.hw, budget)
        parts.append(rings.fill(polygons, placement.hw))
    if shape.mask is not None:
        rows, cols = shape.mask.slices
        (x0, y0), (x1, y1) = placement.points([(cols.start, rows.start), (cols.stop, rows.stop)]).tolist()
        if x1 > x0 and y1 > y0:
            states.add(_state((x0, y0, x1, y1), placement.hw))
            height, width = _size((x0, y0, x1, y1), placement.hw)
            budget.spend(height * width + (rows.stop - rows.start) * (cols.stop - cols.start))
            mask = shape.mask if isinstance(shape.mask, LocalMask) else shape.mask.decode()
            parts.append(placement.mask(mask))
    mask = _without(_united(parts), shape.holes, placement, budget)
    if mask.bitmap.size:
        counts[_CUT] += bool({_CUT, _OUTSIDE} & states)
    else:
        counts[_OUTSIDE if states == {_OUTSIDE} else _EMPTY] += 1
    return mask


def _state(box: Sequence[float], hw: tuple[int, int] | None) -> str:
    """Compare a bounding box (x0, y0, x1, y1) with the image."""
    x0, y0, x1, y1 = box
    width, height = (np.inf, np.inf) if hw is None else (hw[1], hw[0])
    if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
        return _OUTSIDE
    # Outlines along the image edge often exceed it by less than a pixel.
    return _CUT if x0 <= -1 or y0 <= -1 or x1 >= width + 1 or y1 >= height + 1 else ""


def _size(box: Sequence[float], hw: tuple[int, int] | None) -> tuple[float, float]:
    """Return the height and width of the part of a bounding box (x0, y0, x1, y1) that lies in the image."""
    limits = (np.inf, np.inf) if hw is None else (hw[1], hw[0])
    width, height = (max(0.0, min(box[axis + 2], limits[axis]) - max(box[axis], 0.0)) + 1 for axis in (0, 1))
    return min(height, 1e9), min(width, 1e9)


def _united(parts: Sequence[LocalMask]) -> LocalMask:
    parts = [part for part in parts if part.bitmap.size]
    if len(parts) < 2:
        return parts[0] if parts else EMPTY
    row, col = min(part.row for part in parts), min(part.col for part in parts)
    height, width = _extent(parts)
    bitmap = np.zeros((height - row, width - col), dtype=np.bool_)
    for part in parts:
        rows, cols = part.slices
        bitmap[rows.start - row : rows.stop - row, cols.start - col : cols.stop - col] |= part.bitmap
    return LocalMask.from_dense(bitmap, row, col)


def _spend_filling(polygons: Sequence[Sequence[Ring]], hw: tuple[int, int] | None, budget: _Budget) -> None:
    """Add the cost of filling each polygon in its own box."""
    for polygon in polygons:
        if (box := rings.bounds([polygon])) is not None:
            height, width = _size(box, hw)
            crossings = rings.crossings([polygon], height + max(box[1], 0))
            budget.spend(height * width + _PX_PER_CROSSING * crossings)


def _without(
    mask: LocalMask, holes: Iterable[Sequence[Ring]], placement: Placement, budget: _Budget
) -> LocalMask:
    """Remove the pixels of polygons from a mask."""
    holes = list(holes)
    if not holes or not mask.bitmap.size:
        return mask
    shift = np.array([mask.col, mask.row])
    moved = [[placement.points(ring) - shift for ring in polygon] for polygon in holes]
    height, width = mask.bitmap.shape
    budget.spend(height * width)
    _spend_filling(moved, (height, width), budget)
    hole = rings.fill(moved, (height, width)).to_dense((height, width))
    return LocalMask.from_dense(mask.bitmap & ~hole, mask.row, mask.col)


def _extent(masks: Iterable[LocalMask]) -> tuple[int, int]:
    stops = [(mask.slices[0].stop, mask.slices[1].stop) for mask in masks]
    return max((row for row, _ in stops), default=1), max((col for _, col in stops), default=1)


def _number_objects(items: Sequence[LabelledObject]) -> list[LabelledObject]:
    """Give the lowest free numbers, in order, to objects without a valid number (-1).

    Objects with the same number as an earlier object of their class, such as copies that QuPath made with the
    metadata of the original, get new numbers as well.
    """
    first: set[tuple[int, int]] = set()
    unique = []
    for obj in items:
        key = obj.number, obj.class_id
        is_copy = obj.number > 0 and key in first
        unique.append(dataclasses.replace(obj, number=-1) if is_copy else obj)
        first.add(key)
    items = unique
    used = {obj.number for obj in items}
    free = (number for number in range(1, len(items) + len(used) + 2) if number not in used)
    return [
        obj if 0 <= obj.number <= MAX_NUMBER else dataclasses.replace(obj, number=next(free)) for obj in items
    ]


def _order(
    items: list[LabelledObject], shapes: Shapes, options: ReadOptions, counts: Counter[str]
) -> list[LabelledObject]:
    """Sort objects so that later ones are on top, and drop those that are covered completely."""
    areas = [obj.mask.area_px for obj in items]
    is_sorted = not shapes.is_ordered and options.overlap == "smaller-on-top"
    order = sorted(range(len(items)), key=lambda index: -areas[index]) if is_sorted else range(len(items))
    ordered = [items[index] for index in order]
    visible = visible_areas(ordered)
    covered = sum(areas[index] > visible[place] for place, index in enumerate(order))
    if not covered:
        return items
    counts["partly covered"] = covered - int((visible == 0).sum())
    counts[_COVERED] = int((visible == 0).sum())
    return [obj for obj, pixels in zip(ordered, visible, strict=True) if pixels]


def _sentences(counts: Counter[str], shapes: Shapes, options: ReadOptions, ignored: int) -> list[str]:
    """Describe what was left out, cut off and covered."""
    is_file_order = shapes.is_ordered or options.overlap == "file-order"
    rule = "in the order of the file" if is_file_order else "the smaller one is on top"
    left_out = {
        **shapes.skipped,
        f"annotations {_UNREADABLE}": len(shapes.malformed),
        _OUTSIDE_POINTS: counts[_OUTSIDE_POINTS],
        **{f"objects {reason}": counts[reason] for reason in (_OUTSIDE, _EMPTY)},
        "objects that others cover completely": counts[_COVERED],
        _IGNORED: ignored,
    }
    notes = []
    if listed := [plural_of(number, reason) for reason, number in left_out.items() if number]:
        notes.append(f"Left out: {', '.join(listed)}.")
    if shapes.malformed:
        notes.append(f"The first that cannot be read is {shapes.malformed[0]}.")
    if counts[_CUT]:
        notes.append(f"{plural(counts[_CUT], 'object')} cut off at the edge of the image.")
    if counts["partly covered"] or counts[_COVERED]:
        number = counts["partly covered"] + counts[_COVERED]
        notes.append(f"{plural(number, 'object')} overlapped by others: {rule}.")
    if options.orientation > 1:
        notes.append(
            "The image was turned as its orientation tag states; the outlines were taken as drawn on the turned image."
        )
    return notes


def _nothing_left(
    path: Path, total: int, counts: Counter[str], shapes: Shapes, placement: Placement
) -> ImageError:
    reasons = {**shapes.skipped, _IGNORED: len(shapes.ignored)}
    reasons |= {reason: counts[reason] for reason in (_OUTSIDE, _EMPTY, _COVERED, _OUTSIDE_POINTS)}
    if shapes.malformed:
        reasons[f"{_UNREADABLE}, such as {shapes.malformed[0]}"] = len(shapes.malformed)
    listed = ", ".join(plural_of(number, reason) for reason, number in reasons.items() if number)
    if (counts[_OUTSIDE] or counts[_OUTSIDE_POINTS]) and placement.hw is not None:
        height, width = placement.hw
        advice = f"give the offset of this image of {width} x {height} px, or choose the file of this image"
    elif shapes.malformed:
        advice = "correct it or export again"
    elif LEFT_OUT in shapes.skipped:
        advice = (
            "export outlines, or add '--points prompts', so that the model outlines an object at each point"
        )
    else:
        advice = "export outlines or masks"
    return ImageError(
        f"'{path}' has {plural(total, 'annotation')}, but none can be imported ({listed}); {advice}."
    )
