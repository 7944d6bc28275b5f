"""Memory of annotations on a slide of 100,352 px, and the time of large commits and of clicks at two zooms."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from napari_sampath.annotations import Add, AnnotatedObject, Document, perform
from napari_sampath.annotations.masks.tiles import cached_bytes
from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.images.slides import ArraySlide
from napari_sampath.jobs import run
from napari_sampath.session import Session
from napari_sampath.tiling import step_of

from ..table import Row, limited

SIDE_PX = 100_352
CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))
_NUCLEUS_PX, _SPACING_PX = 20, 27
"""Diameter and distance of the nuclei of a dense field."""


def rows(quick: bool) -> Iterator[Row]:
    """Yield the rows of the table."""
    yield from spread_objects(60 if quick else 1000)
    yield from nuclei(2000 if quick else 200_000)
    yield from large_region(quick)
    yield from clicks(3 if quick else 15)


def resident_bytes() -> int:
    """Return the memory of this process."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def spread_objects(count: int) -> Iterator[Row]:
    """Measure the memory of objects of 150 px spread over the slide."""
    rng = np.random.default_rng(0)
    document = Document((SIDE_PX, SIDE_PX), CLASSES)
    for number in range(1, count + 1):
        row, col = rng.integers(0, SIDE_PX - 200, 2).tolist()
        perform(document, Add(((AnnotatedObject(number, 1, "brush"), LocalMask(row, col, _disc(150))),)))
    document.class_map.read((0, 0, SIDE_PX, SIDE_PX), 64)
    size = document.instance_map.nbytes + document.verified_map.nbytes + cached_bytes()
    limit = 16 * 2**20
    name = f"memory of {count:,} objects of 150 px spread over the slide, with open and cached tiles"
    yield Row(name, f"{size / 2**20:.1f} MiB", "at most 16 MiB", limit / size, 1.0)


def nuclei(count: int) -> Iterator[Row]:
    """Measure the memory of a dense field of nuclei, with their records, as the growth of this process."""
    document = Document((SIDE_PX, SIDE_PX), CLASSES)
    disc, per_row = _disc(_NUCLEUS_PX), int(np.ceil(np.sqrt(count)))
    before = resident_bytes()
    for first in range(0, count, 1000):
        items = []
        for number in range(first, min(first + 1000, count)):
            row, col = number // per_row * _SPACING_PX, number % per_row * _SPACING_PX
            items.append((AnnotatedObject(number + 1, 1, "head", 0.9), LocalMask(row, col, disc)))
        perform(document, Add(tuple(items)))
    grown = (resident_bytes() - before) / count
    name = f"memory of each of {count:,} nuclei of a dense field, with its record"
    yield Row(name, f"{grown:,.0f} bytes", "at most 2,048 bytes", 2048 / grown, 1.0)


def large_region(quick: bool) -> Iterator[Row]:
    """Measure a region of 30,000 x 20,000 px with a wavy edge, painted at step 32."""
    bitmap = np.ones((20_000 // 32, 30_000 // 32), dtype=np.bool_)
    for row, width in enumerate(10 + 8 * np.sin(np.arange(len(bitmap)) / 9)):
        bitmap[row, : int(width)] = False
    slide = _slide()
    with TemporaryDirectory() as folder:
        journal = Path(folder) / "a.jsonl"
        session = Session(slide, "slide", None, CLASSES, journal)
        size, memory = journal.stat().st_size, resident_bytes()
        times: dict[str, list[float]] = {}
        for _ in range(2 if quick else 5):
            mask = LocalMask(32 * 300, 32 * 500, bitmap, 32)
            start = time.perf_counter()
            session.paint_when_ready(mask, 1)
            job = session.large_changes.job()
            caller_s = time.perf_counter() - start
            if job is None:
                raise RuntimeError("the region is not large")
            start = time.perf_counter()
            outcome = run(job)
            times.setdefault("worker's part of the commit", []).append(time.perf_counter() - start)
            start = time.perf_counter()
            session.large_changes.accept(outcome)
            times.setdefault("caller's part of the commit", []).append(caller_s + time.perf_counter() - start)
            line = journal.stat().st_size - size
            _timed(times, "undo", session.undo)
            size = journal.stat().st_size
        session.redo()
        grown = max(2**20, resident_bytes() - memory)
        session.close()
    for name, values in times.items():
        what, value = f"{name} of a region of 30,000 x 20,000 px", statistics.median(values) * 1000
        if "worker" in name:
            yield Row(what, f"{value:.0f} ms", "", None, None)
        else:
            yield limited(what, value, 100, "ms")
    yield Row("its line in the journal", f"{line / 1000:.1f} kB", "at most 200 kB", 200_000 / line, 1.0)
    limit = 64 * 2**20
    yield Row(
        "its memory, with undo", f"{grown / 2**20:.0f} MiB", "at most 64 MiB", limit / max(grown, 1), 1.0
    )


def clicks(repeats: int) -> Iterator[Row]:
    """Compare clicks on encoded tiles: at two zooms, and on the slide against an image of 1,024 px."""
    from napari_sampath import load_model

    model = load_model("sampath-tiny", device="cpu")
    small = Session(
        np.random.default_rng(0).integers(0, 255, (1024, 1024, 3), np.uint8), "image", model, CLASSES
    )
    near, far = (Session(_slide(), "slide", model, CLASSES) for _ in range(2))
    far.prompts.set_view((40_000, 40_000, 70_000, 70_000))
    times: dict[str, list[float]] = {}
    for number in range(repeats):
        for name, session, at in (("image", small, 500), ("near", near, 50_000), ("far", far, 50_000)):
            session.prompts.add_point(at + 3 * number, at + number)
            request = session.prompts.request()
            if request is None:
                raise RuntimeError("the prompt is empty")
            request.tiles.get(request.frame)  # The encoder is not measured.
            _timed(times, name, lambda s=session, r=request: s.prompts.accept(s.prompts.answerer.answer(r)))
            session.prompts.clear()
    side = max(request.frame.hw)
    image, close, wide = (statistics.median(times[name]) for name in ("image", "near", "far"))
    name = "click on the slide, compared with an image of 1,024 px"
    yield Row(name, f"{close * 1000:.1f} ms", f"{image * 1000:.1f} ms", image / close, 1 / 1.3)
    name = f"click zoomed out on a tile of {side:,} px (step {step_of(request.frame)}), compared with one of 1,024 px"
    yield Row(name, f"{wide * 1000:.1f} ms", f"{close * 1000:.1f} ms", close / wide, 1 / 3)


def _timed(times: dict[str, list[float]], name: str, call: Callable[[], object]) -> None:
    start = time.perf_counter()
    call()
    times.setdefault(name, []).append(time.perf_counter() - start)


def _slide() -> ArraySlide:
    levels = [(SIDE_PX // factor, SIDE_PX // factor, 3) for factor in (1, 4, 16, 64)]
    return ArraySlide(
        [np.broadcast_to(np.array((200, 150, 180), np.uint8), shape) for shape in levels], "slide"
    )


def _disc(diameter: int) -> np.ndarray:
    y, x = np.mgrid[:diameter, :diameter] - (diameter - 1) / 2
    return np.hypot(y, x) <= diameter / 2
