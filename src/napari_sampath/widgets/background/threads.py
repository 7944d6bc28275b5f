"""Threads that compute beside the window, and their end with the program."""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

LAST_S = 60.0
"""So long the program waits at its end for the step that a thread is on: a tile of ViT-H on a slow processor."""

_stops: dict[threading.Thread, Callable[[], object]] = {}


def start_thread(
    work: Callable[..., object], *args: Any, name: str, stop: Callable[[], object]
) -> threading.Thread:
    """Start a thread that the program asks to stop, and waits for, before it ends.

    Without that, Python ends a thread that comes back from native code while it shuts down itself, in the midst of C++,
    which ends the whole process: "terminate called without an active exception", exit code 134, a crash report.

    Args:
        work: Called in the thread.
        args: For `work`.
        name: Of the thread.
        stop: Makes `work` return soon; called in the main thread, if at all.
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
def _end() -> None:
    running = dict(_stops)
    for stop in running.values():
        stop()
    for thread in running:
        thread.join(LAST_S)
