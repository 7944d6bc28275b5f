"""A slide of 100,352 px in a napari window with the Annotate dock: clicks, moving over annotations, large changes."""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QApplication

from napari_sampath.annotations import Add, AnnotatedObject
from napari_sampath.arrays import LocalMask
from napari_sampath.widgets.canvas.slide_layer import add_slide
from napari_sampath.widgets.canvas.viewport import camera

from ..gui.windows import SampathViewer
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
        yield _moving(window, quick)
        window.close()


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


def _moving(window: SlideViewer, quick: bool) -> Row:
    """Measure the longest stall while moving over 20,000 nuclei and 1,000 glands that are spread over the slide."""
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
    window.wait(2.0)
    meter = StallMeter()
    for turn in range(4 if quick else 60):
        zoom = (0.02, 0.1, 0.3, 1.0)[turn % 4]
        near = rng.uniform(0.5, 0.53, 2) if turn % 3 else rng.uniform(0.1, 0.9, 2)
        window.look(near[0] * height, near[1] * width, zoom)
        window.wait(0.5)
    return limited(
        "longest stall while moving over 21,000 objects at four zooms", 1e3 * meter.stop(), 100, "ms"
    )


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
