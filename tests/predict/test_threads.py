"""Prompts use the cores that other processes leave free."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_sampath import load_model
from napari_sampath.predict import threads
from napari_sampath.predict.threads import ProcessorMeter, free_cores

PROGRAM = """
import threading
import torch
from napari_sampath.predict import threads

torch.set_num_threads(4)
for free, kind in ((1, "cpu"), (3, "cpu"), (4, "cpu"), (64, "cpu"), (1, "cuda")):
    threads.free_cores = lambda: free
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    with threads.prompt_threads(torch.device(kind)):
        seen.append(torch.get_num_threads())
        thread.start()
        thread.join()
    print(*seen, torch.get_num_threads())
"""


def test_prompts_use_at_most_the_free_cores_and_other_threads_all() -> None:
    """Print the number in effect during a prompt, in a thread that begins then, and afterwards."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["1 4 4", "3 4 4", "4 4 4", "4 4 4", "4 4 4"]


def test_the_result_does_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("sampath-tiny", device="cpu")
    features = model.encode(np.random.default_rng(0).integers(0, 255, (256, 256, 3), dtype=np.uint8))
    usual, masks = torch.get_num_threads(), []
    try:
        torch.set_num_threads(2)
        for free in (1, 2):
            monkeypatch.setattr(threads, "free_cores", lambda free=free: free)
            masks.append(model.predict(features, points=[(128, 128)], labels=[1]).masks)
    finally:
        torch.set_num_threads(usual)
    assert int((masks[0] != masks[1]).sum()) <= 2, "the order of sums may change pixels on the edge"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts running threads as Linux does")
def test_busy_processes_are_counted() -> None:
    cores = len(os.sched_getaffinity(0))
    busy = [
        subprocess.Popen(
            [sys.executable, "-c", "print(flush=True)\nwhile True: pass"], stdout=subprocess.PIPE
        )
        for _ in range(cores)
    ]
    try:
        for process in busy:
            assert process.stdout is not None
            process.stdout.readline()
        assert free_cores() == 1
    finally:
        for process in busy:
            process.kill()
            process.communicate()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts running threads as Linux does")
def test_threads_of_the_last_prompt_do_not_count_as_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a prompt, PyTorch's threads spin for some milliseconds; another process is counted at once."""
    (tmp_path / "loadavg").write_text("0.9 0.5 0.2 3/130 4242")  # this thread and two others
    monkeypatch.setattr(threads, "_LOADAVG", tmp_path / "loadavg")
    monkeypatch.setattr(threads, "_cores", lambda: 4)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(4)
        with monkeypatch.context() as patch:
            patch.setattr(threads, "free_cores", lambda: 3)
            with threads.prompt_threads(torch.device("cpu")):
                assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(usual)
    for own, free in ((1, 2), (2, 3), (3, 4), (4, 4)):
        monkeypatch.setattr(threads._last_prompt, "ended", time.monotonic())
        monkeypatch.setattr(threads, "_running_threads", lambda own=own: own)
        assert free_cores() == free, f"{own} of three running threads are of this process"
    monkeypatch.setattr(threads._last_prompt, "ended", time.monotonic() - 1)
    assert free_cores() == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts running threads as Linux does")
def test_running_threads_of_this_process_are_counted() -> None:
    assert threads._running_threads() >= 1
    data, ended = bytes(50_000_000), threading.Event()

    def compute() -> None:
        while not ended.is_set():
            hashlib.sha256(data)  # without Python's lock

    worker = threading.Thread(target=compute)
    worker.start()
    try:
        assert max(threads._running_threads() for _ in range(200)) >= 2
    finally:
        ended.set()
        worker.join()


def test_the_meter_of_other_systems_counts_other_processes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([(10.0, 5.0), (10.5, 6.5)])  # in one second on 4 cores: 0.5 s idle, 1.5 s of this process
    clock = iter([100.0, 100.1, 101.0])
    monkeypatch.setattr(ProcessorMeter, "_times", staticmethod(lambda: next(times)))
    monkeypatch.setattr(threads, "_cores", lambda: 4)
    monkeypatch.setattr(threads.time, "monotonic", lambda: next(clock))
    meter = ProcessorMeter()
    assert meter.busy_cores() == 0.0, "the window is too short"
    assert meter.busy_cores() == pytest.approx(2.0)


def test_the_meter_reads_real_times() -> None:
    idle, own = ProcessorMeter._times()
    assert idle > 0
    assert own > 0
