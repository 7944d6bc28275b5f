"""Time of steps in small and large sessions, time of undo on large images, and memory after thousands of steps."""

from __future__ import annotations

import gc
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from napari_sampath.arrays import ClassInfo, LocalMask
from napari_sampath.session import NewObjects, Session
from napari_sampath.session.proposals.new_objects import NewObject

from .table import Row

CLASSES = (ClassInfo(1, "gland", (0, 158, 115)), ClassInfo(2, "stroma", (240, 228, 66)))


def disc(radius: int) -> np.ndarray:
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.hypot(y, x) <= radius


def new_session(side: int, folder: Path, name: str) -> Session:
    image = np.zeros((side, side, 3), np.uint8)
    return Session(image, name, None, CLASSES, folder / f"{name}.jsonl")


def stroke(session: Session, bitmap: np.ndarray, row: int, col: int, class_id: int = 1) -> int:
    rows, cols = np.nonzero(bitmap)
    obj = session.paint(rows + row, cols + col, class_id)
    return 0 if obj is None else obj.id


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def grid_of_nuclei(count: int, side: int) -> NewObjects:
    """Return a grid of round objects, as if found by a head."""
    per_row = int(np.ceil(np.sqrt(count)))
    step = side // per_row
    shape = disc(max(2, step // 3))
    components = [
        NewObject(1, LocalMask(step * (k // per_row), step * (k % per_row), shape), 0.9) for k in range(count)
    ]
    return NewObjects(tuple(components), CLASSES, "a head")


def undo_of_a_large_commit(folder: Path, quick: bool) -> Iterator[Row]:
    side = 2048 if quick else 8192
    session = new_session(side, folder, "large")
    times = []
    stroke(session, disc(side // 8), side // 4, side // 4)
    for _ in range(5 if quick else 15):
        times += [seconds(session.undo), seconds(session.redo)]
    session.close()
    worst = max(times) * 1000
    yield Row(
        f"undo or redo of a commit {side // 4} px across, image of {side} px, slowest",
        f"{worst:.1f} ms",
        "at most 50 ms",
        50 / worst,
        1.0,
    )


def many_objects(folder: Path, quick: bool) -> Iterator[Row]:
    count, repeats, side = (500 if quick else 5000), (10 if quick else 40), 4096
    empty, full = new_session(side, folder, "empty"), new_session(side, folder, "full")
    result = grid_of_nuclei(count, side)
    added_s = seconds(lambda: full.proposals.add(result).apply())
    shape = disc(12)
    medians: dict[str, list[list[float]]] = {}
    for number in range(repeats):
        # Alternate, so that other load on the machine affects both.
        for index, session in enumerate((empty, full)):
            made: list[int] = []
            steps: dict[str, Callable[[], object]] = {
                "commit": lambda s=session, m=made, n=number: m.append(stroke(s, shape, 20 + 30 * n, 60)),
                "reclassify": lambda s=session, m=made: s.objects.reclassify((m[0],), 2),
                "undo": session.undo,
            }
            for name, call in steps.items():
                medians.setdefault(name, [[], []])[index].append(seconds(call))
    for name, (few, many) in medians.items():
        ours, theirs = statistics.median(many), statistics.median(few)
        yield Row(
            f"{name} with {count} objects in the session, compared with an empty session",
            f"{ours * 1000:.2f} ms",
            f"{theirs * 1000:.2f} ms",
            theirs / ours,
            0.5,
        )
    yield Row(
        f"adding {count} objects of a head, in the session's thread",
        f"{added_s * 1000:.0f} ms",
        "",
        None,
        None,
        "the objects are extracted in a worker",
    )
    for session in (empty, full):
        session.close()


def many_steps(folder: Path, quick: bool) -> Iterator[Row]:
    total, first = (3000, 1000) if quick else (20_000, 1000)
    session = new_session(1024, folder, "long")
    rng, shapes = random.Random(0), [disc(radius) for radius in range(2, 30)]
    start = 0
    for number in range(total):
        ids = list(session.document.objects)
        match rng.randrange(10):
            case 0 | 1 | 2 | 3:
                stroke(
                    session, rng.choice(shapes), rng.randrange(960), rng.randrange(960), rng.choice([1, 2])
                )
            case 4 if ids:
                session.objects.reclassify((rng.choice(ids),), rng.choice([1, 2]))
            case 5 if ids:
                session.objects.delete((rng.choice(ids),))
            case 6:
                stroke(session, rng.choice(shapes), rng.randrange(960), rng.randrange(960), 0)
            case 7:
                session.undo()
            case 8:
                session.redo()
            case 9 if ids:
                session.objects.flag((rng.choice(ids),), "reviewed")
        if number == first:
            start = resident_bytes()
    growth = resident_bytes() / start - 1
    session.close()
    yield Row(
        f"memory after {total} steps, compared with {first} steps",
        f"{growth:+.1%}",
        "at most +5.0%",
        0.05 / max(growth, 1e-3),
        1.0,
    )


def objects_on_a_slide(folder: Path, quick: bool) -> Iterator[Row]:
    from napari_sampath.annotations import Add, AnnotatedObject, Document, perform

    before = resident_bytes()
    document = Document((100_000, 100_000), CLASSES)
    shape = disc(100)
    items = [
        (AnnotatedObject(k + 1, 1, "point"), LocalMask(900 * (k // 100) * 10, 900 * (k % 100), shape))
        for k in range(1000)
    ]
    perform(document, Add(tuple(items)))
    used = (resident_bytes() - before) / 2**20
    yield Row(
        "memory of 1,000 objects spread over a slide of 100,000 px",
        f"{used:.0f} MiB",
        "47,684 MiB dense",
        None,
        None,
    )


def rows(quick: bool = False) -> Iterator[Row]:
    """Measure everything; `quick` uses smaller images and fewer steps."""
    with tempfile.TemporaryDirectory() as name:
        for measure in (undo_of_a_large_commit, many_objects, many_steps, objects_on_a_slide):
            yield from measure(Path(name), quick)
