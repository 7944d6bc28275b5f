"""File locks: by a lock file beside the file, or on the open file itself, independent of its name."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import StorageError
from .messages import storage_error

LOCK_S = 10.0
"""How long to wait for another program that writes the same file, in seconds."""

_BYTE = 2**62
"""Position of the byte that is locked on Windows, beyond the end of any file, because others cannot read locked
bytes."""
_POLL_S = 0.02


@contextlib.contextmanager
def locked(path: str | Path, timeout_s: float = LOCK_S, lock_name: str = "") -> Iterator[None]:
    """Lock a file against changes by other threads and programs that use this lock.

    Args:
        path: The file; it need not exist.
        timeout_s: How long to wait for the lock, in seconds.
        lock_name: Name of the lock file in the folder of `path`; ".NAME.lock" by default.

    Raises:
        StorageError: If the wait takes longer, or the lock cannot be created.
    """
    path = Path(path)
    lock = FileLock(path.with_name(lock_name or f".{path.name}.lock"), timeout=timeout_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise StorageError(
            f"Another program has been writing '{path}' for {timeout_s:.0f} s; close it and try again."
        ) from None
    except OSError as error:
        raise storage_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


def lock_descriptor(descriptor: int, timeout_s: float = 0.0, shared: bool = False) -> bool | None:
    """Lock an open file against other processes, and against other handles of it in this process.

    The lock belongs to the file and not to one of its names, and ends when the file is closed or the process ends.

    Args:
        descriptor: Descriptor of the open file.
        timeout_s: How long to wait, in seconds.
        shared: Allow other shared locks, for readers; Windows has no shared locks.

    Returns:
        True if it was locked, False if another program has locked it, None if the file system has no locks.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            _try_lock(descriptor, shared)
            return True
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES, errno.EDEADLK, errno.EINTR):
                return None
            if time.monotonic() >= end:
                return False
        time.sleep(_POLL_S)


def unlock_descriptor(descriptor: int) -> None:
    """Remove the lock of `lock_descriptor`, also from copies of the descriptor in forked processes."""
    with contextlib.suppress(OSError):
        if os.name == "nt":
            import msvcrt

            position = os.lseek(descriptor, 0, os.SEEK_CUR)
            os.lseek(descriptor, _BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            os.lseek(descriptor, position, os.SEEK_SET)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_UN)


def _try_lock(descriptor: int, shared: bool) -> None:
    if os.name == "nt":
        import msvcrt

        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        os.lseek(descriptor, _BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        finally:
            os.lseek(descriptor, position, os.SEEK_SET)
    else:
        import fcntl

        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
