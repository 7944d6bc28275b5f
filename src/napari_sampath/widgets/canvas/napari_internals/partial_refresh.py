"""Repaints the part of a label layer that changed, and finds outlines of objects at the cost of what is annotated.

napari repaints all of a layer whenever it is told that its data changed, and finds outlines (its `contour`) on all
of it with two grey-scale filters: seconds for 8,192 px. It has the means to replace a box of the texture, which its
brush uses; they are used here without its undo history, because the session has one. Checked with napari 0.9;
where a part of this is missing or the view is not the plain two-dimensional one, everything is repainted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from ...background.native_libraries import one_numba_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ....annotations import Box
    from ....arrays import BoolArray, IntArray


def repaint(layer: Labels, box: Box) -> None:
    """Show what the data of a layer holds in a box; a hidden layer is repainted by napari when it is shown.

    Args:
        layer: A two-dimensional label layer backed by a numpy array.
        box: Where the data changed; it must lie inside the layer.
    """
    if not layer.visible:
        return
    try:
        image: Any = layer._slice.image
        plain = list(layer._slice_input.displayed) == [0, 1] and image.raw.shape == layer.data.shape
    except AttributeError:
        plain = False
    if not plain:
        layer.refresh(extent=False)
        return
    r0, c0, r1, c1 = box
    if layer.contour:
        # Outlines depend on neighbours.
        height, width = layer.data.shape
        r0, c0, r1, c1 = max(0, r0 - 1), max(0, c0 - 1), min(height, r1 + 1), min(width, c1 + 1)
    key = slice(r0, r1), slice(c0, c1)
    image.view[key] = layer._raw_to_displayed(image.raw, key)
    layer.events.labels_update(data=image.view[key], offset=[r0, c0])


class ObjectLabels(Labels):
    """A label layer of instance ids whose outlines are looked for only where there is something.

    Args:
        data: (H, W) instance ids.
        filled: Lists boxes outside of which the data are 0.
        options: As `Labels` takes.
    """

    def __init__(self, data: IntArray, *, filled: Callable[[], Iterable[Box]], **options: Any) -> None:
        self._filled = filled
        self._made = False
        super().__init__(data, **options)
        self.contour = 1
        self._made = True

    @property
    def _type_string(self) -> str:
        # napari names what it saves, and the icon, after the class.
        return "labels"

    def _raw_to_displayed(self, raw: IntArray, data_slice: tuple[slice, ...] | None = None) -> Any:
        filled = self._made and self.contour != 1
        if filled or raw.ndim != 2 or raw.shape != self.data.shape:
            return super()._raw_to_displayed(raw, data_slice)
        with one_numba_thread():
            return self._outlined_all(raw) if data_slice is None else self._outlined(raw, data_slice)

    def _update_thumbnail(self) -> None:
        with one_numba_thread():
            super()._update_thumbnail()

    def _outlined_all(self, raw: IntArray) -> Any:
        (nothing,) = self.colormap._data_to_texture(np.zeros(1, raw.dtype))
        # Zeros that nobody writes to take no memory.
        shape, kind = raw.shape, nothing.dtype
        shown = np.full(shape, nothing) if nothing else np.zeros(shape, kind)
        for r0, c0, r1, c1 in self._filled():
            key = slice(r0, r1), slice(c0, c1)
            shown[key] = self._outlined(raw, key)
        return shown

    def _outlined(self, raw: IntArray, key: tuple[slice, ...]) -> Any:
        rows, cols = key
        top, left = max(0, rows.start - 1), max(0, cols.start - 1)
        around = raw[top : rows.stop + 1, left : cols.stop + 1]
        inside = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
        edges = outlines(around)[inside]
        texture = self.colormap._data_to_texture(np.append(around[inside][edges], around.dtype.type(0)))
        shown = np.full(edges.shape, texture[-1])
        shown[edges] = texture[:-1]
        return shown


def outlines(labels: IntArray) -> BoolArray:
    """Return (H, W) which pixels of objects have a neighbour above, below, left or right that is not the same."""
    edges = np.zeros(labels.shape, dtype=np.bool_)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    edges &= labels > 0
    return edges
