"""The layers that show what a head found: classes and confidence, on the image or on a region of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..canvas import layers as shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari.layers import Image, Layer
    from napari.viewer import Viewer

    from ...arrays import ClassInfo, FloatArray, UInt8Array

CLASSES, CONFIDENCE = "Segmentation", "Confidence"
"""Names of the layers."""


class ResultLayers:
    """Shows one result at a time; a newer one of the same size and place is written into the same layers.

    Args:
        viewer: The viewer.
    """

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer

    def show(
        self,
        image: Image,
        labels: UInt8Array,
        confidence: FloatArray,
        origin_rc: tuple[int, int],
        classes: Iterable[ClassInfo],
    ) -> None:
        """Show a result.

        Args:
            image: The image layer it was made from.
            labels: (h, w) class ids.
            confidence: (h, w) 0..1.
            origin_rc: Where in the image (row, col) the first pixel lies.
            classes: Names and colours of the ids.
        """
        place = placement_at(image, origin_rc)
        found = self._of(image)
        fits = [
            one.data.shape == labels.shape and np.allclose(one.translate, place["translate"]) for one in found
        ]
        if len(found) != 2 or not all(fits):
            shown.remove(self._viewer, found)
            found = self._add(image, labels, confidence, place)
        else:
            found[0].data, found[1].data = labels, confidence
            found[0].visible = True
        shown.recolour(found[0], shown.class_colormap([one for one in classes if one.id > 0]))
        self._viewer.layers.selection.active = image

    def repaint(self, image: Image, labels: UInt8Array) -> None:
        """Show other labels of the same result."""
        found = self._of(image)
        if found and found[0].data.shape == labels.shape:
            found[0].data = labels

    def hide(self, image: Image) -> None:
        """Hide the result, which is kept."""
        for layer in self._of(image):
            layer.visible = False

    def _of(self, image: Image) -> list[Any]:
        found = [one for one in self._viewer.layers if one.metadata.get(shown.MARK_HEAD) == image.name]
        return sorted(found, key=lambda one: one.metadata["part"])

    def _add(
        self, image: Image, labels: UInt8Array, confidence: FloatArray, place: dict[str, Any]
    ) -> list[Layer]:
        marks = [{shown.MARK_HEAD: image.name, "part": part} for part in (0, 1)]
        first = self._viewer.add_labels(labels, name=CLASSES, opacity=0.45, metadata=marks[0], **place)
        first.editable = False
        second = self._viewer.add_image(
            confidence,
            name=CONFIDENCE,
            colormap="viridis",
            contrast_limits=(0.0, 1.0),
            opacity=0.6,
            visible=False,
            metadata=marks[1],
            **place,
        )
        return [first, second]


def placement_at(image: Image, origin_rc: Sequence[float]) -> dict[str, Any]:
    """Return the arguments that put a layer where a part of an image layer is."""
    place = shown.placement(image)
    moved = (
        np.asarray(image.data_to_world(tuple(origin_rc)))[-2:] - np.asarray(image.data_to_world((0, 0)))[-2:]
    )
    # What scale, turn and shear make of the step; the affine comes after them.
    step = np.linalg.solve(np.asarray(image.affine.linear_matrix)[-2:, -2:], moved)
    return {**place, "translate": np.asarray(image.translate)[-2:] + step}
