"""Background threads that are stopped before the program exits."""

from __future__ import annotations

import atexit
import ctypes
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

EXIT_S = 2.0
"""Maximum time for which all threads together may delay the exit of the program."""

_stops: dict[threading.Thread, Callable[[], object]] = {}


def start_thread(
    work: Callable[..., object], *args: Any, name: str, stop: Callable[[], object]
) -> threading.Thread:
    """Start a daemon thread that is stopped when the program exits, and interrupted if it does not stop.

    Otherwise, if the thread returned from native code while Python shuts down, Python would end it inside C++ code,
    and the process would abort with "terminate called without an active exception" and exit code 134.

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
    """Stop all threads and wait at most `EXIT_S`; halfway through, interrupt the threads that are still running."""
    threads = dict(_stops)
    for stop in threads.values():
        stop()
    start = time.monotonic()
    _join(threads, start + EXIT_S / 2)
    for thread in threads:
        if thread.is_alive() and thread.ident is not None:
            # Raise SystemExit at the next bytecode of the thread, instead of waiting for the end of its step.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
            )
    _join(threads, start + EXIT_S)


def _join(threads: Iterable[threading.Thread], deadline: float) -> None:
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
