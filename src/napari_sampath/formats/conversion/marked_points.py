"""Points of a file, which have no area: left out, or kept as prompts for a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..format import Choice, ImportChoiceError, ReadOptions, Shapes
from ..objects import MarkedPoint
from .placement import Placement

LEFT_OUT = "points without an area"


def skip_points(shapes: Shapes, options: ReadOptions, path: Path) -> None:
    """Leave the points of a file out and count them, unless they are prompts.

    Raises:
        ImportChoiceError: If the user has to choose.
    """
    count = len(shapes.points)
    if not count or options.points == "prompts":
        return
    if options.points == "ask":
        raise ImportChoiceError(
            f"'{path}' has {count:,} {'point' if count == 1 else 'points'} without an outline",
            "choose whether the model outlines an object at each",
            [
                Choice("Outline with the model", {"points": "prompts"}, "--points prompts"),
                Choice("Leave out", {"points": "skip"}, "--points skip"),
            ],
        )
    shapes.points.clear()
    shapes.skipped[LEFT_OUT] += count


def marked_points(shapes: Shapes, numbers: Mapping[str, int], placement: Placement) -> list[MarkedPoint]:
    """Return the pixels of the image that the points of a file mark; points outside the image are left out.

    Args:
        shapes: The content of the file.
        numbers: Number of each class.
        placement: Position of the file in the image.
    """
    if not shapes.points:
        return []
    height, width = placement.hw or (np.inf, np.inf)
    corners = placement.points([point.xy for point in shapes.points]).tolist()
    return [
        # A point on the right or bottom edge belongs to the last pixel.
        MarkedPoint(
            numbers[point.class_name],
            (min(max(x - 0.5, 0.0), width - 1), min(max(y - 0.5, 0.0), height - 1)),
        )
        for point, (x, y) in zip(shapes.points, corners, strict=True)
        if 0 <= x <= width and 0 <= y <= height
    ]
