"""Runs of a slide in separate processes: two compared with one, and their memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tifffile

from napari_sampath.heads import save_bundle

from ..__main__ import ROOT
from ..table import Row, limited
from .large_slide import SIDE_PX, write_large_slide
from .sleeping import make_head

_SECONDS = 0.25
"""Time per tile of the encoder."""
_STRIP_HW = (3072, 49_152)
"""Height and width of a slide of eight blocks."""
_CLASSES = 8
_WORKER = """
from benchmarks.slides.sleeping import register
from napari_sampath.images.slides import open_slide
from napari_sampath.predict.whole_slide import slide_run_job
register({seconds})
"""


def rows(small: Path, quick: bool) -> Iterator[Row]:
    """Yield the rows of the table."""
    yield from _two_against_one(small, quick)
    yield from _memory(small, quick)


def _memory(small: Path, quick: bool) -> Iterator[Row]:
    """Measure the memory of runs on a large and a small slide."""
    peaks = []
    loaded = make_head(_CLASSES, mpp=1.0)  # The slides have 0.5, so a block is 12,288 px wide.
    sides = (8192, 4096) if quick else (SIDE_PX, 20_480)
    for side in sides:
        with TemporaryDirectory() as name:
            folder = Path(name)
            slide, head, mask = folder / "slide.tif", folder / "head.safetensors", folder / "tissue.tif"
            write_large_slide(small, slide, side, 8)
            save_bundle(head, loaded.head, loaded.metadata)
            tissue = np.zeros((side // 1024,) * 2, np.uint8)
            tissue[:24, :24] = 1
            tifffile.imwrite(mask, tissue)
            words = [
                "segment",
                str(slide),
                "--head",
                str(head),
                "--tissue",
                str(mask),
                "--device",
                "cpu",
                "--quiet",
            ]
            _, above = together([[*words, "-o", str(folder / "a.ome.zarr")]], 0.0, folder / "cache")
            peaks.append(above[0] / 2**30)
    note = f"peak above the loaded program; {_CLASSES} classes, an encoder without work, tissue on 24,576 x 24,576 px"
    what = f"memory of a run, slide of {sides[0]:,} px"
    yield limited(what, peaks[0], 1.5, "GiB", note)
    yield limited(f"{what} : {sides[1]:,} px", peaks[0] / peaks[1], 1.2, "x")


def _two_against_one(small: Path, quick: bool) -> Iterator[Row]:
    """Compare two processes with one."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        slide, head = folder / "strip.tif", folder / "random.safetensors"
        height, width = (2048, 8192) if quick else _STRIP_HW
        write_large_slide(small, slide, width, 3, height)
        loaded = make_head()
        save_bundle(head, loaded.head, loaded.metadata)
        seconds = 0.01 if quick else _SECONDS
        words = ["segment", str(slide), "--head", str(head), "--tissue", "all", "--device", "cpu", "--quiet"]
        note = f"{width:,} x {height:,} px in {-(-width // 6144)} blocks; an encoder that waits {seconds:g} s a tile"

        def run(name: str, *processes: list[str]) -> float:
            output = ["-o", str(folder / f"{name}.ome.zarr")]
            return together([[*words, *output, *more] for more in processes], seconds, folder / name)[0]

        one, two = run("one", []), run("two", ["--part", "1/2"], ["--part", "2/2"])
        yield _compared("two processes with --part, compared with one", two, one, note)
        times = []
        for count in (1, 2):
            with cluster(count, seconds, folder / f"workers{count}") as address:
                times.append(run(f"workers{count}", ["--scheduler", address]))
        yield _compared("two dask workers, compared with one", times[1], times[0], note)
        yield _compared("one dask worker, compared with one process", times[0], one, note, None)


def _compared(what: str, ours: float, theirs: float, note: str, bar: float | None = 1.8) -> Row:
    return Row(what, f"{ours:.1f} s", f"{theirs:.1f} s", theirs / ours, bar, note)


def together(commands: list[list[str]], seconds: float, cache: Path) -> tuple[float, list[int]]:
    """Run commands at the same time, each in a process that has loaded the program before.

    Args:
        commands: Words of each command.
        seconds: Time per tile of the encoder "sleep".
        cache: Folder of the feature store.

    Returns:
        The seconds from the sign to the end of the last one, and the peak of each above the loaded program in bytes.
    """
    environment = os.environ | {"SAMPATH_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "benchmarks.slides.run_child",
                json.dumps({"words": words, "seconds": seconds}),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        for words in commands
    ]
    for child in children:
        while (line := child.stdout.readline()) != "ready\n":
            if not line:
                raise RuntimeError("A process ended before it was ready.")
    start = time.perf_counter()
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    answers = [json.loads(child.communicate()[0].splitlines()[-1]) for child in children]
    taken = time.perf_counter() - start
    if any(answer["code"] for answer in answers):
        raise RuntimeError("A process failed.")
    return taken, [answer["above"] for answer in answers]


@contextlib.contextmanager
def cluster(count: int, seconds: float, cache: Path) -> Iterator[str]:
    """Start a scheduler with worker processes that have loaded the program; yields its address."""
    from distributed import LocalCluster

    cache.mkdir()
    preload = cache / "preload.py"
    preload.write_text(_WORKER.format(seconds=seconds))
    os.environ["SAMPATH_CACHE"] = str(cache)
    try:
        with LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            dashboard_address=":0",
            local_directory=str(cache),
            preload=[str(preload)],
        ) as workers:
            workers.wait_for_workers(count)
            yield workers.scheduler_address
    finally:
        del os.environ["SAMPATH_CACHE"]
