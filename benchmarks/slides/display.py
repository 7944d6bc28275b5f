"""Panning and zooming in a napari window while each chunk takes 150 ms, compared with other layers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_sampath.images.slides import Slide, open_slide
from napari_sampath.images.slides.tiff import TiffSlide
from napari_sampath.images.slides.view_cache import COARSEST_PX
from napari_sampath.widgets.canvas.slide_layer import add_slide
from napari_sampath.widgets.canvas.viewport import camera

from ..gui_driver import wait_until
from ..stalls import StallMeter
from ..table import Row, alternate, limited, timed

CHUNK_S = 0.15
"""Time that each stored chunk takes, as on a network drive."""
_CHUNK_PX = 256


class PlainLevel:
    """A stored level as an array that reads when it is sliced, as other plugins pass it to napari."""

    ndim = 3
    dtype = np.dtype(np.uint8)

    def __init__(self, slide: Slide, number: int) -> None:
        self._slide = slide
        self._number = number
        self.shape = (*slide.levels[number].hw, 3)
        self.size = 3 * self.shape[0] * self.shape[1]
        self.chunks = (_CHUNK_PX, _CHUNK_PX, 3)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows, cols = (slice(*item.indices(length)) for item, length in zip(key, self.shape[:2], strict=False))
        return self._slide.read_level(self._number, (rows.start, cols.start, rows.stop, cols.stop))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[0 : self.shape[0], 0 : self.shape[1]]


def rows(path: Path, quick: bool) -> Iterator[Row]:
    """Compare the longest stalls, and measure the memory of many views."""
    import napari

    yield _opening(path, 2 if quick else 7)
    seconds = 3.0 if quick else 60.0
    slow = TiffSlide._chunk

    def chunk(self: Any, page: Any, index: int) -> Any:
        time.sleep(CHUNK_S)
        return slow(self, page, index)

    stalls = {}
    for kind in ("plain", "picture", "ours"):
        viewer = napari.Viewer(show=True)
        viewer.window._qt_window.resize(1280, 800)
        slide = open_slide(path)
        mpp = slide.mpp or 1.0
        if kind == "ours":
            add_slide(viewer, path)
        elif kind == "picture":
            step = 64
            overview = slide.read((0, 0, *slide.hw), step)
            viewer.add_image(overview, rgb=True, scale=(mpp * step, mpp * step))
        else:
            levels = [PlainLevel(slide, number) for number in range(len(slide.levels))]
            viewer.add_image(levels, rgb=True, multiscale=True, scale=(mpp, mpp))
        _idle(1.0)
        with mock.patch.object(TiffSlide, "_chunk", chunk):
            stalls[kind] = _fly(viewer, slide, seconds / 4 if kind == "plain" else seconds)
        viewer.close()
        slide.close()
    what = "longest stall while panning and zooming, 150 ms a chunk"
    yield limited(what, 1e3 * stalls["ours"], 100, "ms")
    ours, picture = (f"{1e3 * stalls[kind]:.0f} ms" for kind in ("ours", "picture"))
    yield Row(
        f"{what}, compared with a small picture in memory",
        ours,
        picture,
        stalls["picture"] / stalls["ours"],
        None,
        "what the display itself takes",
    )
    note = "plain arrays read in the window's thread"
    ours, theirs = (f"{1e3 * stalls[kind]:.0f} ms" for kind in ("ours", "plain"))
    yield Row(
        f"{what}, compared with plain arrays", ours, theirs, stalls["plain"] / stalls["ours"], 3.0, note
    )
    yield _memory(path, quick)


def _opening(path: Path, repeats: int) -> Row:
    """Compare opening a slide until its coarsest level is shown with adding that level as a numpy array."""
    import napari

    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1280, 800)
    with open_slide(path) as slide:
        step = 1
        while max(slide.hw) > COARSEST_PX * step:
            step *= 2
        coarsest = slide.read((0, 0, *slide.hw), step)
    _idle(1.0)

    def ours() -> None:
        cache = add_slide(viewer, path).data[0].cache
        wait_until(lambda: cache.levels[-1][::8, ::8].min() < 255 and not cache.waiting, 60, "the slide")
        viewer.screenshot(canvas_only=True, flash=False)
        viewer.layers.clear()

    def theirs() -> None:
        viewer.add_image(coarsest, rgb=True)
        viewer.screenshot(canvas_only=True, flash=False)
        viewer.layers.clear()

    medians = alternate({"ours": ours, "theirs": theirs}, repeats)
    viewer.close()
    what = "opening to the first picture, compared with adding its coarsest level as a numpy array"
    return timed(what, medians, 0.5)


def _fly(viewer: Any, slide: Slide, seconds: float) -> float:
    """Pan and zoom all over a slide; return the longest stall in seconds."""
    rng = np.random.default_rng(0)
    view, mpp = camera(viewer), slide.mpp or 1.0
    meter = StallMeter()
    end = time.perf_counter() + seconds
    centre, target, zoom = np.array(slide.hw) * mpp / 2, np.array(slide.hw) * mpp / 2, 1.0
    while time.perf_counter() < end:
        if np.abs(centre - target).max() < 20:
            target = rng.uniform(0.1, 0.9, 2) * slide.hw * mpp
            zoom = float(rng.choice([0.02, 0.1, 0.5, 1, 2])) / mpp
        centre = centre + 0.15 * (target - centre)
        view.center = tuple(centre)
        view.zoom = view.zoom + 0.15 * (zoom - view.zoom)
        _idle(0.02)
    return meter.stop()


def _memory(path: Path, quick: bool) -> Row:
    """Measure the memory that 200 views take."""
    import napari
    import psutil

    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1280, 800)
    _idle(1.0)
    process = psutil.Process()
    before = process.memory_info().rss
    layer = add_slide(viewer, path)
    slide = layer.metadata["sampath-slide"]
    rng, view, mpp = np.random.default_rng(1), camera(viewer), slide.mpp or 1.0
    for _ in range(5 if quick else 200):
        view.center = tuple(rng.uniform(0.1, 0.9, 2) * slide.hw * mpp)
        view.zoom = float(rng.choice([0.02, 0.1, 0.5, 1])) / mpp
        _idle(0.1)
    used = (process.memory_info().rss - before) / 2**20
    viewer.close()
    return limited("memory of 200 views of a slide", used, 400, "MB")


def _idle(seconds: float) -> None:
    """Process events for some time."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.002)
