"""Keeps layers over their image when the user moves, turns or scales that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layers import placement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari.layers import Image, Layer


class TransformSync:
    """Puts layers where an image layer is whenever that changes its place.

    Args:
        image: The image layer.
        layers: Layers over it.
        step: Image pixels to a pixel of theirs.
    """

    def __init__(self, image: Image, layers: Sequence[Layer], step: int = 1) -> None:
        self._image, self._layers, self._step = image, layers, step
        self._events = [
            getattr(image.events, name) for name in placement(image) if hasattr(image.events, name)
        ]
        for event in self._events:
            event.connect(self._put)

    def close(self) -> None:
        """Stop following."""
        for event in self._events:
            event.disconnect(self._put)
        self._events.clear()

    def _put(self) -> None:
        place = {**placement(self._image), "scale": self._image.scale * self._step}
        for layer in self._layers:
            for name, value in place.items():
                setattr(layer, name, value)
