"""A slide of 100,352 px in a napari window with the Annotate dock: clicks, moving over annotations, large changes."""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_sampath.annotations import Add, AnnotatedObject
from napari_sampath.arrays import LocalMask
from napari_sampath.images.slides import open_slide
from napari_sampath.widgets.canvas.slide_layer import add_slide
from napari_sampath.widgets.canvas.viewport import camera

from ..gui.windows import WINDOW_PX, SampathViewer
from ..gui_driver import wait_until
from ..models import load, tissue
from ..stalls import StallMeter
from ..table import Row, limited

_NUCLEUS = np.hypot(*(np.mgrid[:20, :20] - 9.5)) < 10
_GLAND = np.hypot(*(np.mgrid[:150, :150] - 74.5)) < 75


class SlideViewer(SampathViewer):
    """Viewer of a slide with the Annotate dock; the view is at zoom 1 in the middle of the slide."""

    def open(self, pixels: Any) -> Any:
        return add_slide(self.viewer, pixels)

    def settle(self) -> None:
        self.driver.settle()
        self.look(*(side // 2 for side in self.session.hw), 1.0)
        self.wait(1.0)

    def look(self, row: float, col: float, zoom: float) -> None:
        """Centre a level-0 pixel, with `zoom` canvas pixels per level-0 pixel."""
        camera(self.viewer).center = tuple(self.image.data_to_world((row, col))[-2:])
        camera(self.viewer).zoom = zoom / float(self.image.scale[-1])


def rows(path: Path, quick: bool) -> Iterator[Row]:
    """Measure a window of a slide, and the clicks of one of an image of 1,024 px."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = functools.partial(load, "sampath-tiny")
        window: Any = SampathViewer(tissue(1024), tiny, Path(folder) / "image")
        image_s = _clicks(window, quick)
        window.close()
        window = SlideViewer(path, tiny, Path(folder) / "slide")
        slide_s = _clicks(window, quick)
        name = "click to painted pixels beyond the decoder, slide in a window, compared with an image of 1,024 px"
        yield Row(name, f"{1e3 * slide_s:.1f} ms", f"{1e3 * image_s:.1f} ms", image_s / slide_s, 1 / 1.3)
        yield from _large_region(window, quick)
        moving_s, shape = _moving(window, quick)
        window.close()
        floor_s = _moving_over_a_picture(path, shape, quick)
        name = "longest stall while moving over 21,000 objects at four zooms"
        yield limited(name, 1e3 * moving_s, 100, "ms")
        yield Row(
            f"{name}, compared with a small picture and a label layer of the same size as the window, in memory",
            f"{1e3 * moving_s:.0f} ms",
            f"{1e3 * floor_s:.0f} ms",
            floor_s / moving_s,
            None,
            "what the display itself takes",
        )


def _clicks(window: SampathViewer, quick: bool) -> float:
    """Return the median time of a click on an encoded tile, without the time in the decoder."""
    session, beyond = window.session, []
    r0, c0 = (side // 2 - 200 for side in session.hw)
    # Click only on nuclei: elsewhere the mask may be empty, and no frame would be painted.
    nuclei = np.argwhere(session.image[r0 : r0 + 400, c0 : c0 + 400][..., 0] < 150)[:, ::-1] + (c0, r0)
    for turn, (x, y) in enumerate(np.random.default_rng(0).choice(nuclei, 3 if quick else 21).tolist()):
        window.driver.move(x, y)
        window.wait()
        with window.decoding() as decoding_s:
            total = window.until_painted(window.click_at(x, y), lambda: session.prompts.candidate is not None)
        if turn > 1:  # The first clicks wait for the encoder.
            beyond.append(total - sum(decoding_s))
        session.prompts.clear()
        window.wait()
    return statistics.median(beyond or [total])


def _large_region(window: SlideViewer, quick: bool) -> Iterator[Row]:
    """Measure the longest stall while a large region is committed and undone, with all of it in view."""
    height, width = (20, 40) if quick else (20_000 // 32, 30_000 // 32)
    bitmap = np.ones((height, width), dtype=np.bool_)
    for row, start in enumerate(10 + 8 * np.sin(np.arange(height) / 9)):
        bitmap[row, : int(start)] = False
    session = window.session
    window.look(10_000 + 32 * height / 2, 16_000 + 32 * width / 2, 700 / (32 * height))
    window.wait(1.0)
    mask = LocalMask(32 * 300, 32 * 500 if not quick else 0, bitmap, 32)
    commits, undos = [], []
    for _ in range(1 if quick else 3):
        commits.append(
            _stall(lambda: session.paint_when_ready(mask, 1), lambda: bool(session.document.objects))
        )
        undos.append(_stall(session.undo, lambda: not session.document.objects))
    size = "30,000 x 20,000 px"
    yield limited(f"longest stall while a region of {size} is committed", 1e3 * max(commits), 100, "ms")
    yield limited(f"longest stall while a region of {size} is undone", 1e3 * max(undos), 100, "ms")


def _moving(window: SlideViewer, quick: bool) -> tuple[float, tuple[int, int]]:
    """Measure moving over 20,000 nuclei and 1,000 glands that are spread over the slide.

    Returns:
        The longest stall in seconds, and the size of the label layers.
    """
    session, rng = window.session, np.random.default_rng(0)
    height, width = session.hw
    items = []
    for number in range(1, 201 if quick else 21_001):
        if number % 21 == 0:
            mask = LocalMask(*rng.integers(0, min(height, width) - 200, 2).tolist(), _GLAND)
        else:
            mask = LocalMask(
                (height // 2 + number // 140 * 27) % (height - 30),
                (width // 2 + number % 140 * 27) % (width - 30),
                _NUCLEUS,
            )
        items.append((AnnotatedObject(session.document.next_id + number - 1, 1, "head", 0.9), mask))
    session.do(Add(tuple(items)))
    sync = window.state.annotator.layer_sync
    wait_until(lambda: not sync._painter._waiting, 60, "the objects to be painted")
    window.wait(2.0)
    meter = StallMeter()
    for row, col, zoom in _places(session.hw, quick):
        window.look(row, col, zoom)
        window.wait(0.5)
    return meter.stop(), window.state.annotator.layers.classes.data.shape


def _places(hw: tuple[int, int], quick: bool) -> Iterator[tuple[float, float, float]]:
    """Yield the places (row, col) and zooms of the movements, in level-0 pixels."""
    rng = np.random.default_rng(1)
    for turn in range(4 if quick else 60):
        near = rng.uniform(0.5, 0.53, 2) if turn % 3 else rng.uniform(0.1, 0.9, 2)
        yield near[0] * hw[0], near[1] * hw[1], (0.02, 0.1, 0.3, 1.0)[turn % 4]


def _moving_over_a_picture(path: Path, shape: tuple[int, int], quick: bool) -> float:
    """Measure the same movements over an overview of the slide and a label layer (h, w), both in memory."""
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(*WINDOW_PX)
    with open_slide(path) as slide:
        hw, step = slide.hw, 64
        viewer.add_image(slide.read((0, 0, *hw), step), rgb=True, scale=(step, step))
    labels = np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)
    viewer.add_labels(labels, scale=(hw[0] / shape[0], hw[1] / shape[1]), opacity=0.15)
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        QApplication.processEvents()
    meter = StallMeter()
    for row, col, zoom in _places(hw, quick):
        camera(viewer).center = (row, col)
        camera(viewer).zoom = zoom
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            QApplication.processEvents()
            time.sleep(0.005)
    stall_s = meter.stop()
    viewer.close()
    return stall_s


def _stall(act: Callable[[], object], done: Callable[[], bool]) -> float:
    """Return the longest stall in seconds from a change until it is painted."""
    meter = StallMeter()
    act()
    wait_until(done, 60, "the change")
    end = time.perf_counter() + 1.0
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.002)
    return meter.stop()
