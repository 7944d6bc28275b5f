"""Background threads that end in an orderly way when the program exits."""

from __future__ import annotations

import atexit
import ctypes
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

EXIT_S = 2.0
"""How long all threads together may delay the exit of the program."""

_stops: dict[threading.Thread, Callable[[], object]] = {}


def start_thread(
    work: Callable[..., object], *args: Any, name: str, stop: Callable[[], object]
) -> threading.Thread:
    """Start a daemon thread that is asked to stop, and interrupted if it does not, when the program exits.

    Python would end a thread that returns from native code during shutdown in the middle of C++, which aborts the
    process: "terminate called without an active exception", exit code 134, a crash report.

    Args:
        work: Called in the thread.
        args: Arguments of `work`.
        name: Name of the thread.
        stop: Makes `work` return soon; called in the main thread.
    """

    def run() -> None:
        try:
            work(*args)
        finally:
            _stops.pop(thread, None)

    thread = threading.Thread(target=run, name=name, daemon=True)
    _stops[thread] = stop
    thread.start()
    return thread


@atexit.register
def _end_threads() -> None:
    """Wait `EXIT_S` at most: half for the current steps, half for the native calls that interrupted threads are in."""
    threads = dict(_stops)
    for stop in threads.values():
        stop()
    start = time.monotonic()
    _join(threads, start + EXIT_S / 2)
    for thread in threads:
        if thread.is_alive() and thread.ident is not None:
            # SystemExit at the thread's next bytecode, so that it does not have to finish its step.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
            )
    _join(threads, start + EXIT_S)


def _join(threads: Iterable[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
