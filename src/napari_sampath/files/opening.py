"""Opening of files for reading, without waiting for a pipe or a device."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def open_regular(path: str | Path) -> BinaryIO:
    """Open a regular file for reading; links are followed.

    Opening a pipe without a writer would block, and a device has no end.

    Args:
        path: The file.

    Returns:
        A binary stream whose `name` is the path.

    Raises:
        OSError: If the file is missing or cannot be opened, or is a folder, a pipe, a socket or a device; `strerror`
            is the reason. The path may also be invalid (`ValueError` for a null character).
    """
    stream = open(path, "rb", opener=_open_without_waiting)  # noqa: SIM115
    mode = os.fstat(stream.fileno()).st_mode
    if not stat.S_ISREG(mode):
        stream.close()
        raise OSError(errno.EINVAL, "it is a pipe, a socket or a device", str(path))
    return stream


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
