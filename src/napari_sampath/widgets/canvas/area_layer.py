"""A layer that shades the unverified area of an image, on which heads are not trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from ...annotations import Box
from ..background.native_libraries import one_numba_thread
from . import layers as session_layers
from .chunked_paint import ChunkedPainter
from .transform_sync import TransformSync

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ...session import Session

NAME = "Not annotated yet"
SHADE = (0.1, 0.1, 0.12, 1.0)
OPACITY = 0.6
MAX_SIDE_PX = 2048
"""Maximum longer side of the layer; on larger images each of its pixels covers several image pixels."""


class AreaView:
    """A dark layer over the unverified area of an image; it is in the viewer only while `on`.

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
        self._transform: TransformSync | None = None
        self._step = -(-max(session.hw) // MAX_SIDE_PX)
        self._painter = ChunkedPainter(self._paint)
        session.area_changed.connect(self._on_area)

    @property
    def on(self) -> bool:
        """Whether the layer is in the viewer."""
        return self._layer is not None and self._layer in self._viewer.layers

    @on.setter
    def on(self, on: bool) -> None:
        if on == self.on:
            return
        self._stop_following()
        if on:
            self._layer = self._add()
            self._transform = TransformSync(self._image, [self._layer], self._place)
            self._painter.add((0, 0, *self._session.hw))
        elif self._layer is not None:
            self._painter.drop()
            session_layers.remove(self._viewer, [self._layer])
            self._layer = None

    def close(self) -> None:
        """Remove the layer."""
        self._session.area_changed.disconnect(self._on_area)
        self.on = False
        self._stop_following()  # The user may have closed the layer.

    def _stop_following(self) -> None:
        if self._transform is not None:
            self._transform.close()

    def _add(self) -> Labels:
        height, width = self._session.hw
        step, selection = self._step, self._viewer.layers.selection
        active = selection.active
        with one_numba_thread():
            layer = self._viewer.add_labels(
                np.zeros((-(-height // step), -(-width // step)), np.uint8),
                name=NAME,
                opacity=OPACITY,
                colormap=DirectLabelColormap(color_dict={None: SHADE, 0: (0.0, 0.0, 0.0, 0.0)}),
                metadata={session_layers.MARK: self._image.name, session_layers.MARK_HELPER: True},
                **self._place(),
            )
        layer.editable = False
        # Keep the active layer, and keep the annotations above the shade.
        selection.active = active
        self._viewer.layers.move(len(self._viewer.layers) - 1, self._viewer.layers.index(self._image) + 1)
        return layer

    def _place(self) -> dict[str, Any]:
        middle = (self._step - 1) / 2
        return session_layers.placement_at(self._image, (middle, middle), self._step)

    def _on_area(self, box: Box) -> None:
        if self.on:
            self._painter.add(box)

    def _paint(self, box: Box) -> None:
        if self._layer is None:
            return
        step = self._step
        r0, c0 = box[0] // step, box[1] // step
        r1, c1 = -(-box[2] // step), -(-box[3] // step)
        height, width = self._session.hw
        inside = r0 * step, c0 * step, min(r1 * step, height), min(c1 * step, width)
        unverified = ~self._session.area.mask(inside)[::step, ::step]
        session_layers.write(self._layer, (r0, c0, r1, c1), unverified.astype(np.uint8))
