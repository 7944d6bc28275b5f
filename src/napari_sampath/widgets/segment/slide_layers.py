"""Layers on a slide: the tissue mask, which the user can paint, and the growing result of a head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap

from ...formats.maps.result_map import ResultMap
from ...images.slides.tissue import Tissue
from ...images.slides.view_cache import ViewCache
from ..background.native_libraries import one_numba_thread
from ..canvas import layers as canvas_layers
from ..canvas.appearance import class_colors
from ..canvas.slide_layer import keep_painted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Image, Labels
    from napari.viewer import Viewer

    from ...arrays import ClassInfo
    from ...formats.maps.slide_result import SlideResult

TISSUE, RESULT = "Tissue", "Segmentation of the slide"
"""Names of the layers."""
MARK_SLIDE = "napari-sampath-slide-layer"
"""Metadata key of these layers; the value is `TISSUE` or `RESULT`. They also have `layers.MARK_HEAD`."""
_TISSUE_COLOR = (0.1, 0.8, 0.3, 1.0)
_TISSUE_KEY = "sampath-tissue-step"


def find_layer(viewer: Viewer, image: Image, name: str) -> Labels | None:
    """Return one of these layers of an image; None if the user removed it."""
    for layer in canvas_layers.results_on(viewer, image):
        if layer.metadata.get(MARK_SLIDE) == name:
            return layer
    return None


def show_tissue(viewer: Viewer, image: Image, tissue: Tissue) -> Labels:
    """Show a tissue mask as a label layer that can be brushed: 1 is tissue."""
    old = find_layer(viewer, image, TISSUE)
    canvas_layers.remove(viewer, [] if old is None else [old])
    layer: Labels
    with one_numba_thread():
        layer = viewer.add_labels(
            tissue.mask.astype(np.uint8),
            name=TISSUE,
            opacity=0.35,
            colormap=DirectLabelColormap(color_dict={None: _TISSUE_COLOR, 0: (0.0, 0.0, 0.0, 0.0)}),
            metadata={
                canvas_layers.MARK_HEAD: image.name,
                MARK_SLIDE: TISSUE,
                _TISSUE_KEY: tissue.step,
            },
            **_place(image, tissue.step),
        )
    layer.selected_label = 1
    layer.brush_size = 20
    layer.mode = "paint"
    return layer


def tissue_of(layer: Labels) -> Tissue:
    """Return the mask in a layer of `show_tissue`, as the user has painted it."""
    return Tissue(np.asarray(layer.data) > 0, float(layer.metadata[_TISSUE_KEY]))


def show_result(viewer: Viewer, image: Image, result: SlideResult, classes: Iterable[ClassInfo]) -> ViewCache:
    """Show the class map of a result, also while it grows: call `ViewCache.forget` for blocks that were written."""
    old = find_layer(viewer, image, RESULT)
    canvas_layers.remove(viewer, [] if old is None else [old])
    cache = ViewCache(ResultMap(result, "classes"), min_levels=2)
    selection = viewer.layers.selection
    with one_numba_thread():
        layer = viewer.add_labels(
            list(cache.levels),
            name=RESULT,
            opacity=0.45,
            multiscale=True,
            metadata={canvas_layers.MARK_HEAD: image.name, MARK_SLIDE: RESULT},
            **_place(image, result.factor),
        )
    layer.editable = False
    keep_painted(viewer, layer)
    canvas_layers.recolour(layer, class_colors([info for info in classes if info.id > 0]))
    selection.active = image
    return cache


def _place(image: Image, step: float) -> dict[str, Any]:
    """Return the layer arguments of a layer whose pixels are `step` level-0 pixels wide."""
    middle = (step - 1) / 2
    return canvas_layers.placement_at(image, (middle, middle), step)  # type: ignore[arg-type]
