"""Shades what nobody has annotated yet: heads learn from all the rest, and only from that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from ..background.native_libraries import one_numba_thread
from . import layers as shown
from .chunked_paint import ChunkedPainter
from .transform_sync import TransformSync

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ...annotations import Box
    from ...session import Session

NAME = "Not annotated yet"
SHADE = (0.1, 0.1, 0.12, 1.0)
OPACITY = 0.6
MOST_PX = 2048
"""Longer side of the layer; on larger images one of its pixels stands for several."""


class AreaView:
    """A layer over an image that is dark where the session's annotated area is not; there only while it is on.

    Args:
        viewer: The viewer.
        image: The image layer.
        session: The session.
    """

    def __init__(self, viewer: Viewer, image: Image, session: Session) -> None:
        self._viewer = viewer
        self._image = image
        self._session = session
        self._layer: Labels | None = None
        self._in_place: TransformSync | None = None
        self._step = -(-max(session.hw) // MOST_PX)
        self._strips = ChunkedPainter(self._paint)
        session.area_changed.connect(self._on_area)

    @property
    def on(self) -> bool:
        """Whether it is shown."""
        return self._layer is not None and self._layer in self._viewer.layers

    @on.setter
    def on(self, on: bool) -> None:
        if on == self.on:
            return
        if self._in_place is not None:
            self._in_place.close()
        if on:
            self._layer = self._add()
            self._in_place = TransformSync(self._image, [self._layer], self._step)
            self._strips.add((0, 0, *self._session.hw))
        elif self._layer is not None:
            self._strips.drop()
            shown.remove(self._viewer, [self._layer])
            self._layer = None

    def close(self) -> None:
        """Take the layer away."""
        self._session.area_changed.disconnect(self._on_area)
        self.on = False
        if self._in_place is not None:
            self._in_place.close()  # the user may have closed the layer

    def _add(self) -> Labels:
        height, width = self._session.hw
        step, selection = self._step, self._viewer.layers.selection
        active = selection.active
        place = {**shown.placement(self._image), "scale": self._image.scale * step}
        with one_numba_thread():
            layer = self._viewer.add_labels(
                np.zeros((-(-height // step), -(-width // step)), np.uint8),
                name=NAME,
                opacity=OPACITY,
                colormap=DirectLabelColormap(color_dict={None: SHADE, 0: (0.0, 0.0, 0.0, 0.0)}),
                metadata={shown.MARK: self._image.name},
                **place,
            )
        layer.editable = False
        # The layer in use is the user's business; what is annotated stays on top of the shade.
        selection.active = active
        self._viewer.layers.move(len(self._viewer.layers) - 1, self._viewer.layers.index(self._image) + 1)
        return layer

    def _on_area(self, box: Box) -> None:
        if self.on:
            self._strips.add(box)

    def _paint(self, box: Box) -> None:
        if self._layer is None:
            return
        step = self._step
        r0, c0 = box[0] // step, box[1] // step
        r1, c1 = -(-box[2] // step), -(-box[3] // step)
        height, width = self._session.hw
        inside = r0 * step, c0 * step, min(r1 * step, height), min(c1 * step, width)
        open_yet = ~self._session.area.mask(inside)[::step, ::step]
        shown.write(self._layer, (r0, c0, r1, c1), open_yet.astype(np.uint8))
