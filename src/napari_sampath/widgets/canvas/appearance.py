"""How objects are drawn: outlines in the colour of their class, dashed and dotted marks, and what is hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from ...annotations.model.annotated_object import TRUSTED, UNSURE
from ...arrays import IntArray

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...annotations import Document
    from ...arrays import ClassInfo

FILL = 0.15
"""Default opacity of the fill."""
DASH_PX, GAP_PX = 4, 3
"""Lengths of the dashes and gaps of proposals that nobody has reviewed."""
DOT_PX = 2
"""Length of the dots and gaps of objects that are marked as unsure."""
_TRUSTS = 3
"""Number of values of `AnnotatedObject.trust`."""
GREY = (0.5, 0.5, 0.5, 1.0)
CLEAR = (0.0, 0.0, 0.0, 0.0)
MASK, SCRIBBLE = 1, 2
"""Values of the candidate layer: the candidate mask, and a scribble that becomes a mask prompt."""
SCRIBBLE_COLOR = (1.0, 0.83, 0.0, 1.0)


class Outliner:
    """Gives the outlines of objects the id of their class, and gaps according to their review mark.

    A proposal that nobody has reviewed is dashed, an object that is marked as unsure is dotted, all others are solid.

    Args:
        document: The objects.
    """

    def __init__(self, document: Document) -> None:
        self._document = document

    def __call__(self, ids: IntArray, rows: IntArray, cols: IntArray) -> IntArray:
        """Return the class ids (N,) to draw at outline pixels with these ids, rows and columns; 0 in gaps."""
        document = self._document
        values: IntArray = document.class_map.table.take(ids, mode="clip").astype(ids.dtype)
        trust = document.trust_map.table.take(ids, mode="clip")
        if not (trust == TRUSTED).all():
            along = rows + cols
            dash_gap = (trust == 0) & (along % (DASH_PX + GAP_PX) >= DASH_PX)
            dot_gap = (trust == UNSURE) & (along % (2 * DOT_PX) >= DOT_PX)
            values[dash_gap | dot_gap] = 0
        return values


def styles_of(document: Document) -> IntArray:
    """Return (N,) a number for the class and the line style of each object id, on which its outline depends.

    It is 0 for ids without an object.
    """
    styles: IntArray = document.class_map.table.astype(np.int32) * _TRUSTS + document.trust_map.table
    return styles


def class_colors(classes: Iterable[ClassInfo], only: int = 0) -> DirectLabelColormap:
    """Return the colours of class ids; values without a class are grey.

    Args:
        classes: The classes.
        only: Id of the only class to show; 0 shows all.
    """
    colors: dict[int | None, tuple[float, ...]] = {None: CLEAR if only else GREY, 0: CLEAR}
    for info in classes:
        shown = only in (0, info.id)
        colors[info.id] = (*(part / 255 for part in info.color), 1.0) if shown else CLEAR
    return DirectLabelColormap(color_dict=colors)


def candidate_colors(color: tuple[int, int, int]) -> DirectLabelColormap:
    """Return the colours of the candidate layer: the candidate has the colour of the class that it will get."""
    mask = (*(part / 255 for part in color), 1.0)
    return DirectLabelColormap(color_dict={None: CLEAR, MASK: mask, SCRIBBLE: SCRIBBLE_COLOR})
