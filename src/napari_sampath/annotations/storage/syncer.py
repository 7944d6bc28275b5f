"""Call fsync on a file in a separate thread, once for several writes."""

from __future__ import annotations

import contextlib
import os
import threading


class Syncer:
    """Flushes a file to the disk shortly after each write.

    Written data survives a crash of the program, because the operating system has it; fsync makes it survive a power
    cut, too. A call takes 5 to 50 ms on a hard disk, which is too long for a GUI thread.

    Args:
        descriptor: File descriptor of an open file; it is duplicated.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._changed = threading.Condition()
        self._asked = 0
        self._done = 0
        self._closing = False
        self._error: OSError | None = None
        self._thread: threading.Thread | None = None

    def ask(self) -> None:
        """Request an fsync of everything written so far and return immediately."""
        with self._changed:
            self._asked += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until all requested data is on the disk; return False after the timeout or an error."""
        with self._changed:
            asked = self._asked
            self._changed.wait_for(lambda: self._done >= asked or self._error is not None, timeout_s)
            return self._done >= asked and self._error is None

    def check(self) -> None:
        """If the last fsync failed, repeat it in the calling thread.

        Raises:
            OSError: If it fails again.
        """
        if self._error is not None:
            os.fsync(self._descriptor)
            with self._changed:
                self._error, self._done = None, self._asked

    def close(self) -> None:
        """Finish the pending fsync and close the file descriptor."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._asked > self._done)
                asked = self._asked
                if asked == self._done:
                    return
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                with self._changed:
                    self._error, self._done = error, asked
                    self._changed.notify_all()
                continue
            with self._changed:
                self._done = asked
                self._changed.notify_all()
