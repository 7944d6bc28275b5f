"""Keep layers aligned with their image when the user moves, rotates or scales it."""

from __future__ import annotations

from collections.abc import Sequence

from napari.layers import Image, Layer

from .layers import placement


class TransformSync:
    """Copies the transform of an image layer to other layers whenever it changes.

    Args:
        image: The image layer.
        layers: The layers that show data of that image.
        step: Number of image pixels per pixel of the layers, along each axis.
    """

    def __init__(self, image: Image, layers: Sequence[Layer], step: int = 1) -> None:
        self._image, self._layers, self._step = image, layers, step
        self._events = [
            getattr(image.events, name) for name in placement(image) if hasattr(image.events, name)
        ]
        for event in self._events:
            event.connect(self._copy)

    def close(self) -> None:
        """Stop following the image."""
        for event in self._events:
            event.disconnect(self._copy)
        self._events.clear()

    def _copy(self) -> None:
        transform = {**placement(self._image), "scale": self._image.scale * self._step}
        for layer in self._layers:
            for name, value in transform.items():
                setattr(layer, name, value)
