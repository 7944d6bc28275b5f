"""Objects from label maps and outlines in memory, such as layers of a viewer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from ...arrays import ClassInfo, FloatArray, IntArray, LocalMask
from ...errors import ImageError
from ...files.messages import plural_of
from ...formats import rings
from ...formats.objects import boxes_of
from ...rasters import check_pixels
from .new_objects import NewObject, NewObjects

ValuesAre: TypeAlias = Literal["auto", "objects", "class"]
"""What the values of a label map are: numbers of objects, or one class whose connected components are the objects.
"auto" takes a map with a single value as a class."""


def from_label_map(
    labels: npt.ArrayLike,
    hw: tuple[int, int],
    info: ClassInfo,
    name: str = "the label map",
    to_labels: FloatArray | None = None,
    values: ValuesAre = "auto",
) -> NewObjects:
    """Convert a label map to new objects of one class.

    Args:
        labels: (h, w) integers or bool, 0 for the background.
        hw: Size (H, W) of the image.
        info: The class.
        name: Name for messages.
        to_labels: (2, 3) matrix from (row, col, 1) of the image to (row, col) of the label map, where whole numbers are
            centres of pixels; None if both have the same pixels.
        values: What the values are.

    Raises:
        ImageError: If the map is no label map of this image, or has no objects in it.
    """
    values_map = np.asarray(labels)
    if values_map.ndim != 2 or values_map.dtype.kind not in "iub":
        raise ImageError(
            f"{name} has shape {values_map.shape} and type {values_map.dtype}; choose labels (H, W) of whole numbers."
        )
    notes: list[str] = []
    if to_labels is None or np.allclose(to_labels, np.eye(2, 3)):
        if values_map.shape != hw:
            raise ImageError(
                f"{name} is {values_map.shape[1]} x {values_map.shape[0]} px, but the image is {hw[1]} x {hw[0]} px "
                "(width x height); set the scale or position of the layer so that it covers the same tissue."
            )
        values_map = values_map.astype(np.int64)
    else:
        outside = len(np.unique(values_map[values_map != 0]))
        values_map = _resampled(values_map, to_labels, hw)
        outside -= len(np.unique(values_map[values_map != 0]))
        notes.append(f"{name} was resampled to the pixels of the image.")
        if outside:
            notes.append(f"{outside} of its values are left out: outside the image, or smaller than a pixel.")
    if (values_map < 0).any():
        raise ImageError(f"{name} has negative values; choose labels with 0 for the background.")
    distinct = np.unique(values_map[values_map > 0])
    if distinct.size == 0:
        raise ImageError(
            f"{name} has no objects in the image; choose another layer, or move it onto the image."
        )
    if values == "class" or (values == "auto" and distinct.size == 1):
        from skimage.measure import label  # Slow to import.

        values_map = label(values_map > 0, connectivity=2)
        if values == "auto":
            notes.append("All labels have one value, so each connected component is one object.")
    objects = tuple(
        NewObject(info.id, LocalMask.from_dense(values_map[r0:r1, c0:c1] == number, r0, c0))
        for number, (r0, c0, r1, c1) in sorted(boxes_of(values_map).items())
    )
    return NewObjects(objects, (info,), notes=tuple(notes))


def from_outlines(
    outlines: Iterable[npt.ArrayLike],
    hw: tuple[int, int],
    info: ClassInfo,
    name: str = "the layer",
    skipped: Counter[str] | None = None,
) -> NewObjects:
    """Convert closed outlines to new objects of one class; later ones are on top.

    Args:
        outlines: Rings (N, 2) of (row, col) in image pixels, where whole numbers are centres of pixels.
        hw: Size (H, W) of the image.
        info: The class.
        name: Name for messages.
        skipped: Reason -> number of shapes that were left out before, such as lines.

    Raises:
        ImageError: If no outline covers a pixel of the image.
    """
    left_out = Counter(skipped or {})
    objects: list[NewObject] = []
    for outline in outlines:
        corners = np.asarray(outline, dtype=np.float64)[:, ::-1] + 0.5
        mask = rings.fill([[corners]], hw)
        if mask.bitmap.any():
            objects.append(NewObject(info.id, mask))
        else:
            left_out["shapes outside the image or smaller than a pixel"] += 1
    parts = ", ".join(plural_of(count, reason) for reason, count in left_out.items())
    if not objects:
        raise ImageError(
            f"{name} has no shape with an area in the image{f' ({parts})' if parts else ''}; choose another layer."
        )
    return NewObjects(tuple(objects), (info,), notes=(f"Left out: {parts}.",) if parts else ())


def _resampled(labels: IntArray, to_labels: FloatArray, hw: tuple[int, int]) -> IntArray:
    """Return the label at the centre of each pixel of the image (H, W); 0 outside the map."""
    check_pixels(*hw, "the label map")
    result = np.zeros(hw, dtype=np.int64)
    cols = np.arange(hw[1])
    for row in range(hw[0]):
        r, c = (
            np.round(to_labels[axis, 0] * row + to_labels[axis, 1] * cols + to_labels[axis, 2]).astype(
                np.int64
            )
            for axis in (0, 1)
        )
        inside = (r >= 0) & (r < labels.shape[0]) & (c >= 0) & (c < labels.shape[1])
        result[row, inside] = labels[r[inside], c[inside]]
    return result
