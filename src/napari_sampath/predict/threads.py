"""Choice of the number of threads that answer a prompt, by the cores that other processes leave free.

A prompt runs hundreds of small parallel regions. At the end of each, all threads wait for the slowest one, so a thread
whose core is taken by another process delays all of them. With as many threads as free cores, none waits.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

_LOADAVG, _OWN_THREADS = Path("/proc/loadavg"), Path("/proc/self/task")
_SAMPLES = 3
"""How often running threads are counted; the lowest count is used, to ignore daemons that run for an instant."""
_SPIN_S = 0.05
"""Time after a prompt in which its threads may still wait actively for more work."""
_WINDOW_S = 0.2
"""Minimum time over which the use of cores is measured on systems where running threads cannot be counted."""


@contextlib.contextmanager
def prompt_threads(device: torch.device) -> Iterator[None]:
    """Let PyTorch use at most the free cores in a `with` block, in the calling thread only; GPUs are not affected.

    Args:
        device: Device on which prompts are answered.
    """
    usual = torch.get_num_threads()
    if device.type != "cpu" or usual == 1:
        yield
        return
    count = min(usual, free_cores())
    if count < usual:
        torch.set_num_threads(count)
        # The call above has also set the number with which later threads begin; only a call in another thread restores
        # that number without changing this thread.
        _other_thread().submit(torch.set_num_threads, usual).result()
    try:
        yield
    finally:
        _last_prompt.ended, _last_prompt.threads = time.monotonic(), count
        if count < usual:
            torch.set_num_threads(usual)


@dataclass
class _LastPrompt:
    """When the last prompt ended, and with how many threads it was answered."""

    ended: float = 0.0
    threads: int = 1


_last_prompt = _LastPrompt()


@functools.cache
def _other_thread() -> ThreadPoolExecutor:
    """Return one thread that lasts as long as the process."""
    return ThreadPoolExecutor(1, "torch-thread-count")


def free_cores() -> int:
    """Return the number of cores, at least 1, that run no other thread at this moment.

    Threads of `giving_way` do not count, because they leave their core to a prompt at once.
    """
    return max(1, _cores() - max(0, round(_busy_cores()) - sum(_giving_way)))


_giving_way: list[int] = []
"""Number of threads of each process of low priority that this process has started."""


@contextlib.contextmanager
def giving_way(threads: int) -> Iterator[None]:
    """In a `with` block, do not count the threads of a process of low priority as busy."""
    _giving_way.append(threads)
    try:
        yield
    finally:
        _giving_way.remove(threads)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _busy_cores() -> float:
    """Return how many cores other threads occupy."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The fourth field is "running/all"; running threads include this one and those that wait for a core.
            running = [int(_LOADAVG.read_text().split()[3].partition("/")[0]) for _ in range(_SAMPLES)]
            return min(running) - 1 - _waiting_actively()
    return _meter.busy_cores()


def _waiting_actively() -> int:
    """Return how many threads of the last prompt still run without work; they are the threads of the next prompt."""
    if _last_prompt.threads == 1 or time.monotonic() - _last_prompt.ended > _SPIN_S:
        return 0
    return min(_last_prompt.threads, _running_threads()) - 1


def _running_threads() -> int:
    """Return the number of threads of this process that run or wait for a core, at least 1."""
    states = []
    for thread in _OWN_THREADS.iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            states.append((thread / "stat").read_text().rpartition(") ")[2][:1])
    return max(1, states.count("R"))


class ProcessorMeter:
    """Measures how many cores other processes used since the last prompt."""

    def __init__(self) -> None:
        self._since = time.monotonic()
        self._idle, self._own = self._times()
        self._busy = 0.0

    def busy_cores(self) -> float:
        """Return the number of cores that other processes used on average."""
        now = time.monotonic()
        elapsed = now - self._since
        if elapsed >= _WINDOW_S:
            idle, own = self._times()
            self._busy = max(0.0, _cores() - (idle - self._idle + own - self._own) / elapsed)
            self._since, self._idle, self._own = now, idle, own
        return self._busy

    @staticmethod
    def _times() -> tuple[float, float]:
        """Return the seconds that all cores were idle, and that this process ran."""
        own = psutil.Process().cpu_times()
        return psutil.cpu_times().idle, own.user + own.system


_meter = ProcessorMeter()
