"""Repaint only the changed box of a label layer, and outline objects at a cost proportional to their area.

napari repaints the whole layer when its data change, and computes `contour` with two grey-scale filters over the whole
layer, which takes seconds for 8,192 x 8,192 px.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from napari.layers import Labels, Points, Shapes

from ....annotations import Box
from ....arrays import BoolArray, IntArray
from ...background.native_libraries import one_numba_thread


def repaint(layer: Labels, box: Box) -> None:
    """Repaint a box of a layer; napari itself repaints a hidden layer when it is shown.

    Replaces: `Layer.refresh`; updates a box of the texture as napari's brush does, through `_slice.image`,
    `_slice_input`, `_raw_to_displayed` and the event `labels_update`, but without an entry in napari's undo history.
    Fallback: `Layer.refresh` repaints the whole layer, as in three dimensions.

    Args:
        layer: A two-dimensional label layer backed by a numpy array.
        box: The changed box (r0, c0, r1, c1), inside the layer.
    """
    if not layer.visible:
        return
    try:
        image: Any = layer._slice.image
        plain = list(layer._slice_input.displayed) == [0, 1] and image.raw.shape == layer.data.shape
        update, to_displayed = layer.events.labels_update, layer._raw_to_displayed
    except AttributeError:
        plain = False
    if not plain:
        layer.refresh(extent=False)
        return
    r0, c0, r1, c1 = box
    if layer.contour:
        # Outlines depend on the neighbouring pixels.
        height, width = layer.data.shape
        r0, c0, r1, c1 = max(0, r0 - 1), max(0, c0 - 1), min(height, r1 + 1), min(width, c1 + 1)
    key = slice(r0, r1), slice(c0, c1)
    image.view[key] = to_displayed(image.raw, key)
    update(data=image.view[key], offset=[r0, c0])


@contextlib.contextmanager
def one_refresh(layer: Points | Shapes) -> Iterator[None]:
    """Change a points or shapes layer in several steps and repaint it once.

    The extent of the layer is not updated, because the layer does not extend beyond the image.

    Replaces: a repaint after each step; uses `Layer._block_refresh`.
    Fallback: events are blocked, but each step refreshes the layer.
    """
    block = getattr(layer, "_block_refresh", contextlib.nullcontext)
    selected = bool(layer.selected_data)
    with layer.events.blocker_all(), block():
        yield
    layer.refresh(extent=False, thumbnail=False, highlight=selected)


@contextlib.contextmanager
def one_slicing(layer: Labels) -> Iterator[None]:
    """Change the pixels, scale and translation of a label layer inside the image, and repaint it once.

    No event announces the transform: napari would compute the ranges of the sliders again, which are those of the
    image. The repaint updates the transform of the visual.

    Replaces: a repaint after each change; uses `Layer._block_refresh`.
    Fallback: each change refreshes the layer.
    """
    block = getattr(layer, "_block_refresh", contextlib.nullcontext)
    with block(), layer.events.scale.blocker(), layer.events.translate.blocker():
        yield
    layer.refresh(extent=False, thumbnail=False)


class ObjectLabels(Labels):
    """A label layer of instance ids that draws outlines in the colours of classes, and only where there are objects.

    Replaces: `Labels.contour` over the whole layer; overrides `_raw_to_displayed` and `_update_thumbnail` and calls
    `colormap._data_to_texture`.
    Fallback: napari computes the outlines over the whole layer and colours them by id.

    Args:
        data: (H, W) instance ids.
        filled: Returns boxes (r0, c0, r1, c1) that together contain all non-zero pixels.
        outline: Returns the values (N,) to draw at outline pixels with these ids (N,), rows (N,) and columns (N,); the
            colour map of the layer gives their colours, 0 is transparent. By default the ids.
        options: Keyword arguments of `Labels`.
    """

    def __init__(
        self,
        data: IntArray,
        *,
        filled: Callable[[], Iterable[Box]],
        outline: Callable[[IntArray, IntArray, IntArray], IntArray] | None = None,
        **options: Any,
    ) -> None:
        self._filled = filled
        self._outline = outline
        self._initialised = False
        super().__init__(data, **options)
        self.contour = 1
        self._initialised = True

    @property
    def _type_string(self) -> str:
        # napari derives the name of saved files and the icon from the class name.
        return "labels"

    def _raw_to_displayed(self, raw: IntArray, data_slice: tuple[slice, ...] | None = None) -> Any:
        filled = self._initialised and self.contour != 1
        to_texture = getattr(self.colormap, "_data_to_texture", None)
        if filled or to_texture is None or raw.ndim != 2 or raw.shape != self.data.shape:
            return super()._raw_to_displayed(raw, data_slice)
        with one_numba_thread():
            if data_slice is not None:
                return self._outlined(raw, data_slice, to_texture)
            (background,) = to_texture(np.zeros(1, raw.dtype))
            # Pages of zeros that are never written take no memory.
            fill = np.zeros(raw.shape, background.dtype)
            displayed = np.full(raw.shape, background) if background else fill
            for r0, c0, r1, c1 in self._filled():
                key = slice(r0, r1), slice(c0, c1)
                displayed[key] = self._outlined(raw, key, to_texture)
            return displayed

    def _outlined(self, raw: IntArray, key: tuple[slice, ...], to_texture: Callable[[Any], Any]) -> Any:
        """Return the texture of a part of the ids, in which only outlines are not background."""
        rows, cols = key
        top, left = max(0, rows.start - 1), max(0, cols.start - 1)
        around = raw[top : rows.stop + 1, left : cols.stop + 1]
        inside = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
        edges = outlines(around)[inside]
        values = around[inside][edges]
        if len(values) and self._outline is not None:
            row, col = np.nonzero(edges)
            values = self._outline(values, row + rows.start, col + cols.start)
        texture = to_texture(np.append(values, values.dtype.type(0)))
        displayed = np.full(edges.shape, texture[-1])
        displayed[edges] = texture[:-1]
        return displayed

    def _update_thumbnail(self) -> None:
        with one_numba_thread():
            super()._update_thumbnail()


def outlines(labels: IntArray) -> BoolArray:
    """Return (H, W) bool, True for object pixels whose upper, lower, left or right neighbour has another value."""
    edges = np.zeros(labels.shape, dtype=np.bool_)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    edges[1:] |= down
    edges[:-1] |= down
    edges[:, 1:] |= right
    edges[:, :-1] |= right
    edges &= labels > 0
    return edges
