"""Keep layers aligned with their image when the user moves, rotates or scales it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from napari.layers import Image, Layer

from .layers import placement


class TransformSync:
    """Copies the transform of an image layer to other layers whenever it changes.

    Args:
        image: The image layer.
        layers: The layers that show data of that image.
        place: Returns the layer arguments of the transform of the layers; by default that of the image.
    """

    def __init__(
        self, image: Image, layers: Sequence[Layer], place: Callable[[], Mapping[str, Any]] | None = None
    ) -> None:
        self._layers = layers
        self._place = place or (lambda: placement(image))
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
        transform = self._place()
        for layer in self._layers:
            for name, value in transform.items():
                setattr(layer, name, value)
