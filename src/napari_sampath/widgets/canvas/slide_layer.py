"""Image layers that show a slide without waiting for its file, and napari's reader of slides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_warning
from qtpy.QtCore import QObject, QTimer, Signal

from ...images.slides import Slide, open_slide
from ...images.slides.view_cache import CHUNK_PX, Chunk, LevelView, ViewCache
from .napari_internals.napari_canvas import make_context_current

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Layer

REPAINT_MS = 66
"""Minimum time between repaints when chunks arrive: at most 15 a second."""
KEY = "sampath-slide"
"""Key of the slide in a layer's metadata."""
_REPAINT = f"{KEY}-repaint"


class _Repaint(QObject):
    """Repaints a layer after chunks in view have arrived, in the GUI thread and at most 15 times a second."""

    arrived = Signal(object)
    failed = Signal(str)

    def __init__(self, viewer: napari.Viewer, layer: Image, cache: ViewCache) -> None:
        super().__init__()
        self._viewer = viewer
        self._layer = layer
        self._cache = cache
        self._thumbnail = False
        """Whether chunks have arrived that the thumbnail shows."""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REPAINT_MS)
        self._timer.timeout.connect(self._repaint)
        self.arrived.connect(self._on_arrived)
        self.failed.connect(show_warning)
        cache.on_arrival, cache.on_failure = self.arrived.emit, self.failed.emit
        viewer.layers.events.removing.connect(self._on_removing)
        viewer.layers.events.removed.connect(self._on_removed)
        # The threads have started already: show what they have read.
        self._thumbnail = True
        self._timer.start()
        if cache.failure:
            show_warning(cache.failure)

    def _on_arrived(self, chunk: Chunk) -> None:
        coarsest = chunk[0] == len(self._cache.levels) - 1
        self._thumbnail |= coarsest
        if not self._timer.isActive() and (coarsest or self._in_view(chunk)):
            self._timer.start()

    def _in_view(self, chunk: Chunk) -> bool:
        """Return whether a chunk covers a part of what napari shows, in its level or enlarged."""
        level, row, col = chunk
        shown = int(self._layer.data_level)
        low, high = self._layer.corner_pixels[:, :2] * 2.0 ** (shown - level) / CHUNK_PX
        return bool(
            level >= shown and low[0] < row + 1 and high[0] >= row and low[1] < col + 1 and high[1] >= col
        )

    def _repaint(self) -> None:
        thumbnail, self._thumbnail = self._thumbnail, False
        self._layer.refresh(extent=False, thumbnail=thumbnail, highlight=False)

    def _on_removing(self) -> None:
        # The docks do this, too, but a slide can be shown without them.
        make_context_current(self._viewer)

    def _on_removed(self, event: Any) -> None:
        if event.value is self._layer:
            self._timer.stop()
            self._viewer.layers.events.removing.disconnect(self._on_removing)
            self._viewer.layers.events.removed.disconnect(self._on_removed)
            self._cache.on_arrival = lambda _: None
            self._cache.on_failure = lambda _: None
            self._cache.close()


def slide_of(layer: Layer) -> Slide | None:
    """Return the slide that a layer shows; None for other layers."""
    slide = layer.metadata.get(KEY)
    return slide if isinstance(slide, Slide) else None


def layer_data(path: str | Path) -> tuple[list[LevelView], dict[str, Any], str]:
    """Open a slide as the data of a napari image layer.

    Args:
        path: The slide.

    Returns:
        The levels, the options of `Viewer.add_image`, and "image".

    Raises:
        ImageError: If the slide cannot be read.
    """
    slide = open_slide(path)
    cache = ViewCache(slide)
    options: dict[str, Any] = {
        "name": slide.name,
        "rgb": True,
        "multiscale": True,
        "metadata": {KEY: slide},
    }
    if slide.mpp is not None:
        options |= {"scale": (slide.mpp, slide.mpp), "units": ("um", "um")}
    return list(cache.levels), options, "image"


def keep_painted(viewer: napari.Viewer, layer: Layer) -> None:
    """Repaint a layer of `layer_data` whenever chunks arrive, and close its slide when it is removed."""
    view = layer.data[0]
    if isinstance(view, LevelView) and _REPAINT not in layer.metadata:
        layer.metadata[_REPAINT] = _Repaint(viewer, layer, view.cache)


def add_slide(viewer: napari.Viewer, path: str | Path) -> Image:
    """Add a slide to a viewer; see `layer_data`."""
    levels, options, _ = layer_data(path)
    layer: Image = viewer.add_image(levels, **options)
    keep_painted(viewer, layer)
    return layer


def get_reader(path: str | list[str]) -> Callable[[str | list[str]], list[Any]] | None:
    """Return napari's reader of slides, for the reader contribution of the plugin.

    Args:
        path: Path of a file, or paths of several.

    Returns:
        A function that returns the layer data of the paths.
    """
    return read_slide


def read_slide(path: str | list[str]) -> list[Any]:
    """Return the layer data of slides, and repaint the layers that napari creates from it when pixels arrive."""
    layers = [layer_data(each) for each in ([path] if isinstance(path, str) else path)]
    keep_next_painted(levels[0].cache for levels, _, _ in layers)
    return layers


def keep_next_painted(caches: Iterable[ViewCache]) -> None:
    """Repaint the layers that napari is about to create from caches whenever chunks arrive."""
    import napari

    viewer, expected = napari.current_viewer(), set(map(id, caches))
    if viewer is None:
        return

    def on_inserted(event: Any) -> None:
        layer = event.value
        if getattr(layer, "multiscale", False) and isinstance(layer.data[0], LevelView):
            keep_painted(viewer, layer)
            expected.discard(id(layer.data[0].cache))
        if not expected:
            viewer.layers.events.inserted.disconnect(on_inserted)

    viewer.layers.events.inserted.connect(on_inserted)
