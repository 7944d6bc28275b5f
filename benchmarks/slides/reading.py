"""Reading of windows: speed and memory, compared with OpenSlide."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from napari_sampath.images.slides import Slide, open_slide
from napari_sampath.images.slides.openslide_reader import OpenSlideSlide

from ..table import Row, alternate, limited, seconds

_WINDOW_PX = 1024
_THREADS = 8


def boxes(slide: Slide, count: int, seed: int) -> list[tuple[int, int, int, int]]:
    """Choose random windows of 1,024 px."""
    rng = np.random.default_rng(seed)
    side = min(_WINDOW_PX, *slide.hw)
    corners = [
        (int(rng.integers(0, slide.hw[0] - side + 1)), int(rng.integers(0, slide.hw[1] - side + 1)))
        for _ in range(count)
    ]
    return [(row, col, row + side, col + side) for row, col in corners]


def rows(small: Path, large: Path, quick: bool) -> Iterator[Row]:
    """Compare random reads of two slides, and time the opening and an overview of the large one."""
    count = 4 if quick else 40
    for name, path in (("SVS, JPEG", small), ("100,352 px, JPEG", large)):
        yield _random_reads(name, path, count)
    yield _threads(small, count)
    yield from _opening(large)


def _random_reads(name: str, path: Path, count: int) -> Row:
    with open_slide(path) as ours, OpenSlideSlide(path) as theirs:
        different = 0
        medians = {"ours": 0.0, "theirs": 0.0}
        for turn, box in enumerate(boxes(ours, count, seed=0)):
            # Alternate which reader is first, since the second finds the file in the system's cache.
            order = [("ours", ours), ("theirs", theirs)][:: 1 if turn % 2 else -1]
            pixels = {}
            for reader, slide in order:
                start = time.perf_counter()
                pixels[reader] = slide.read(box)
                medians[reader] += (time.perf_counter() - start) / count
            different += int((pixels["ours"] != pixels["theirs"]).sum())
    ratio = medians["theirs"] / medians["ours"] if different == 0 else 0.0
    what = f"random windows of 1,024 px, {name}, compared with OpenSlide"
    return Row(
        what, seconds(medians["ours"]), seconds(medians["theirs"]), ratio, 2.0, f"{different} values differ"
    )


def _threads(path: Path, count: int) -> Row:
    with open_slide(path) as slide, ThreadPoolExecutor(_THREADS) as pool:
        windows = boxes(slide, count, seed=1)
        alone = [slide.read(box) for box in windows]
        together = list(pool.map(slide.read, windows))
    different = sum(int((first != second).sum()) for first, second in zip(alone, together, strict=True))
    what = f"values that differ when {_THREADS} threads read at once"
    return Row(what, str(different), "0", float(different == 0), 1.0)


def _opening(path: Path) -> Iterator[Row]:
    def overview() -> None:
        with open_slide(path) as slide:
            slide.read((0, 0, *slide.hw), 64)

    def digest() -> None:
        with open_slide(path) as slide:
            slide.digest  # noqa: B018 - computed at the first access

    medians = alternate({"overview": overview, "digest": digest})
    yield Row(
        "opening 100,352 px and reading an overview of 1,568 px", seconds(medians["overview"]), "", None, None
    )
    yield limited("opening 100,352 px and computing its digest", medians["digest"], 1.0, "s")
