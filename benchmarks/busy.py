"""Time of a click while other processes keep cores busy, compared with a quiet machine and with all threads."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from unittest import mock

import numpy as np

from .models import tissue
from .table import Row, limited, seconds

ROUNDS, CLICKS = 6, 6
LIMITS = {1: 1.6, 2: 2.5}
"""Number of busy processes on two cores -> largest 95th percentile, as a multiple of that without any."""


def rows(quick: bool = False) -> Iterator[Row]:
    """Time clicks with 0, 1 and 2 busy processes in turn, so that other work affects all of them."""
    import torch

    from napari_sampath import load_model

    if sys.platform == "win32":
        return  # processes cannot be stopped and continued
    model = load_model("sampath-tiny", device="cpu")
    features = model.encode(tissue(1024))
    usual, cores = (
        torch.get_num_threads(),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2,
    )
    times: dict[tuple[int, str], list[float]] = defaultdict(list)
    with busy_processes(cores) as processes:
        for _ in range(1 if quick else ROUNDS):
            for count in (0, *LIMITS):
                with running(processes[: count * cores // 2]):
                    for kind, free in (("ours", None), ("all threads", usual), ("one thread", 1)):
                        with chosen(free):
                            model.predict(features, points=[(512, 512)], labels=[1])
                            times[count, kind] += [
                                click(model, features) for _ in range(1 if quick else CLICKS)
                            ]
    p95 = {key: float(np.percentile(values, 95)) for key, values in times.items()}
    medians = {key: float(np.median(values)) for key, values in times.items()}
    for count, limit in LIMITS.items():
        others = f"{count * cores // 2} busy processes on {cores} cores"
        note = (
            f"{seconds(p95[count, 'ours'])}, {seconds(p95[0, 'ours'])} quiet; median "
            f"{seconds(medians[count, 'ours'])}, {seconds(medians[0, 'ours'])} quiet; with all threads "
            f"{p95[count, 'all threads'] / p95[0, 'all threads']:.1f} times the quiet 95th percentile"
        )
        yield limited(
            f"click with {others}, 95th percentile",
            p95[count, "ours"] / p95[0, "ours"],
            limit,
            "x quiet",
            note,
        )
    yield Row(
        "click on a quiet machine, free cores compared with all threads",
        seconds(medians[0, "ours"]),
        seconds(medians[0, "all threads"]),
        medians[0, "all threads"] / medians[0, "ours"],
        0.9,
        f"median; {seconds(medians[0, 'one thread'])} with one thread",
    )


def click(model: object, features: object) -> float:
    """Return the seconds of one prompt."""
    begin = time.perf_counter()
    model.predict(features, points=[(512, 512)], labels=[1])  # type: ignore[attr-defined]
    return time.perf_counter() - begin


def chosen(free: int | None) -> contextlib.AbstractContextManager[object]:
    """Fix the number of cores that count as free; None counts them."""
    if free is None:
        return contextlib.nullcontext()
    return mock.patch("napari_sampath.predict.threads.free_cores", return_value=free)


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start processes that compute without end, and stop them until they are needed."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(processes: list[subprocess.Popen[bytes]]) -> Iterator[None]:
    """Let processes run in a `with` block."""
    for process in processes:
        process.send_signal(signal.SIGCONT)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        time.sleep(0.05)
