"""Threads take shorter turns while one of them computes in the background."""

from __future__ import annotations

import contextlib
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TURN_S = 0.0005
"""Python's own is ten times as long. Painting a frame gives the turn away with each of its hundred calls of OpenGL,
and so does the decoder with each operation: beside a thread that computes in Python, either waited five milliseconds
each time to get it back, which froze the window for 200."""

_lock = threading.Lock()
_computing = 0
_before = 0.0


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Have all threads take turns of `TURN_S` at most; afterwards as before, once nobody computes any more."""
    global _computing, _before
    with _lock:
        _computing += 1
        if _computing == 1:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(_before, TURN_S))
    try:
        yield
    finally:
        with _lock:
            _computing -= 1
            if _computing == 0:
                sys.setswitchinterval(_before)
