"""The open file of a journal: locked for this process, and compared with what its name refers to."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias, cast

from filelock import FileLock, Timeout

from ...errors import JournalError
from ...files import write_atomically
from ...files.atomic import sync, sync_folder, temporary_path
from ...files.locks import lock_descriptor, unlock_descriptor
from .syncer import Syncer

Place: TypeAlias = Literal["same", "gone", "replaced", "unmounted"]
"""What the name of an open file refers to: the file, nothing, another file, or nothing on another disk."""

_ATTEMPTS = 10


class OpenFile:
    """An open journal file.

    The lock belongs to the file, not to its name: hard links, symbolic links and a deleted lock file do not matter.
    Versions that lock a file beside the journal are excluded, too.

    Args:
        path: The file; must exist.
        read_only: Open a file that may be on a read-only disk; other readers may open it as well.

    Raises:
        JournalError: If another session has it open, or it is not a regular file.
        OSError: If it cannot be opened.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._beside = None if read_only else lock_beside(path)
        try:
            self.stream = _open_locked(path, read_only)
        except BaseException:
            if self._beside is not None:
                self._beside.release()
            raise
        self.syncer = Syncer(self.stream.fileno())
        self._disk = os.stat(os.path.dirname(os.path.realpath(path))).st_dev
        self._has_stable_number = os.path.samestat(os.fstat(self.stream.fileno()), os.stat(path))

    def place(self) -> Place:
        """Return what the name of the file refers to now.

        Raises:
            OSError: If that cannot be determined.
        """
        try:
            status = os.stat(self.path)
            if not self._has_stable_number or os.path.samestat(os.fstat(self.stream.fileno()), status):
                return "same"
        except (FileNotFoundError, NotADirectoryError):
            folder = Path(os.path.realpath(self.path)).parent
            while not folder.exists() and folder != folder.parent:
                folder = folder.parent
            return "gone" if os.stat(folder).st_dev == self._disk else "unmounted"
        return "replaced"

    @property
    def has_other_names(self) -> bool:
        """True if the file has hard links, which a replaced file would not follow."""
        return os.fstat(self.stream.fileno()).st_nlink > 1

    def switch(self, stream: BinaryIO, path: Path) -> None:
        """Continue with another open and locked file."""
        old = self.stream, self.syncer
        self.stream, self.path = stream, path
        self.syncer = Syncer(stream.fileno())
        old[1].close()
        unlock_descriptor(old[0].fileno())
        old[0].close()

    def close(self) -> None:
        """Close and unlock the file."""
        self.syncer.close()
        if not self.stream.closed:
            unlock_descriptor(self.stream.fileno())
            with contextlib.suppress(OSError):
                self.stream.close()
        if self._beside is not None:
            self._beside.release()


def create(path: Path, content: bytes, replace: bool = False) -> BinaryIO:
    """Write a new file that no other process can see incomplete, and return it open and locked.

    Args:
        path: The file.
        content: Its content.
        replace: Whether an existing file is replaced.

    Raises:
        FileExistsError: If it exists and is not to be replaced.
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path.parent, ".part")
    stream = open(temporary, "x+b", buffering=0)  # noqa: SIM115  # returned
    try:
        lock_descriptor(stream.fileno(), timeout_s=1.0)
        written = 0
        while written < len(content):
            written += stream.write(memoryview(content)[written:])
        sync(stream)
        if replace:
            with contextlib.suppress(FileNotFoundError):
                os.chmod(temporary, stat.S_IMODE(path.stat().st_mode))
            os.replace(temporary, path)
        else:
            _move_without_replacing(temporary, path)
    except BaseException:
        stream.close()
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return stream


def create_if_missing(path: Path, content: bytes) -> None:
    """Create a file, or give an empty file its content; any other file is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > 0:
        return
    if path.exists():
        lock = lock_beside(path)
        try:
            if path.stat().st_size == 0:
                write_atomically(path, lambda stream: stream.write(content))
        finally:
            if lock is not None:
                lock.release()
        return
    try:
        create(path, content).close()
    except FileExistsError:  # Another process created it.
        return


def lock_beside(path: Path) -> FileLock | None:
    """Lock the file beside a journal that earlier versions lock; None if the folder is read-only.

    Raises:
        JournalError: If another session has it open.
    """
    # Not bound to a thread, because sessions are opened in a worker thread and used in the GUI thread.
    lock = FileLock(f"{path}.lock", thread_local=False)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise _open_elsewhere(path) from None
    except (OSError, NotImplementedError):
        return None
    return lock


def _move_without_replacing(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # No hard links on this file system.
        if os.path.lexists(target):
            raise FileExistsError(17, "File exists", str(target)) from None
        os.replace(source, target)


def _open_locked(path: Path, read_only: bool) -> BinaryIO:
    for attempt in range(_ATTEMPTS):
        stream: Any = open(path, "rb" if read_only else "r+b", buffering=0, opener=_open_without_waiting)  # noqa: SIM115
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            stream.close()
            raise JournalError(f"'{path}' is not a regular file; choose another file.")
        if lock_descriptor(stream.fileno(), shared=read_only) is False:
            stream.close()
            raise _open_elsewhere(path)
        # Another process may have replaced the file before it was locked, so try again. The last attempt is accepted,
        # because some network disks change the number of a file all the time.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(status, os.stat(path)) or attempt == _ATTEMPTS - 1:
                return cast("BinaryIO", stream)
        stream.close()
    raise FileNotFoundError(2, "No such file", str(path))


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))


def _open_elsewhere(path: Path) -> JournalError:
    return JournalError(
        f"The journal '{path}' is open in another window or program; close the image there first."
    )
