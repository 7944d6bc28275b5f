"""Atomic writing of a file: a crash, a full disk or a second process never leaves a partial file."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from ..errors import SampathError, StorageError
from .locks import lock_descriptor
from .messages import storage_error

logger = logging.getLogger(__name__)

Write: TypeAlias = Callable[[BinaryIO], object]
"""Function that writes the content of one file to a binary stream."""

LEFTOVER_S = 3600.0
"""Age from which a temporary file counts as left over even if it may be in use, in seconds."""

PART = ".part"
"""Suffix of the temporary file of one write."""
_OWN = re.compile(r"\.[0-9a-f]{32}\.part")
_visited: set[Path] = set()
"""Folders in which this process has already removed leftover temporary files."""


def write_atomically(path: str | Path, write: Write) -> None:
    """Write a file so that a reader always finds the old content or the new, also after a crash.

    The content is written to a temporary file in the same folder, synced to the disk, and the file renamed. Missing
    folders are created, links followed, and the permissions of a replaced file kept. A file that the user may not write
    to is not replaced.

    Args:
        path: The file.
        write: Called once with a binary stream open for writing.

    Raises:
        StorageError: If writing fails (full disk, no permission, a folder of that name); the old content is untouched.
    """
    path = Path(path)
    target = Path(os.path.realpath(path))
    try:
        check_target(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.parent not in _visited:
            _visited.add(target.parent)
            remove_leftovers(target.parent)
        temporary = temporary_path(target.parent, PART)
        try:
            with _create(temporary) as stream:
                write(stream)
                sync(stream)
                keep_permissions(stream.fileno(), target)
                if (
                    os.name != "nt"
                ):  # Rename while the lock is held, so that no other process takes the file for a leftover.
                    os.replace(temporary, target)
            if os.name == "nt":
                os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
    except SampathError:
        raise
    except OSError as error:
        raise storage_error(path, error) from error


def remove_leftovers(folder: Path, older_than_s: float = LEFTOVER_S) -> int:
    """Delete temporary files that killed processes left in a folder, not in its subfolders.

    Args:
        folder: The folder; it need not exist.
        older_than_s: Age in seconds from which a file is deleted even if it is unknown whether its writer is alive.

    Returns:
        Number of files deleted.
    """
    removed = 0
    oldest = time.time() - older_than_s
    for leftover in folder.glob(f".*{PART}"):
        # Another process may delete the same file.
        with contextlib.suppress(OSError):
            if not leftover.is_file():
                continue
            if leftover.stat().st_mtime <= oldest:
                leftover.unlink()
                removed += 1
            elif _OWN.fullmatch(leftover.name):
                removed += _remove_abandoned(leftover)
    return removed


def temporary_path(folder: Path, suffix: str) -> Path:
    """Return an unused hidden name in a folder."""
    # Independent of the target's name, which may have the maximum length already.
    return folder / f".{uuid.uuid4().hex}{suffix}"


def check_target(target: Path) -> None:
    """Check that a file may be replaced.

    Raises:
        StorageError: If it is not a plain file: renaming over a device would destroy it.
        PermissionError: If the user may not write to it, even if the folder would allow to replace it.
    """
    if target.is_dir():
        raise StorageError(f"'{target}' is a folder; give the name of a file in it.")
    if target.exists():
        if not target.is_file():
            raise StorageError(f"'{target}' is a device or a pipe; give the name of a file.")
        check_writable(target)


def check_writable(path: Path) -> None:
    """Raise a `PermissionError` if the user may not write to an existing file or folder."""
    if not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(13, "Permission denied", str(path))


def sync(stream: BinaryIO) -> None:
    """Write the content of a stream to the disk."""
    stream.flush()
    os.fsync(stream.fileno())


def keep_permissions(descriptor: int, target: Path) -> None:
    """Give a new file the permissions and, if possible, the group of the file that it replaces."""
    with contextlib.suppress(FileNotFoundError):
        status = target.stat()
        if os.name != "nt":
            if os.fstat(descriptor).st_gid != status.st_gid:
                with contextlib.suppress(OSError):  # The user is not a member of the group.
                    os.chown(descriptor, -1, status.st_gid)
            os.chmod(descriptor, stat.S_IMODE(status.st_mode))


def sync_folder(folder: Path) -> None:
    """Make the renames in `folder` survive a power cut."""
    if os.name == "nt":  # Windows cannot open a folder, and renames are durable there.
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        logger.debug("The folder %s cannot be synced: %s", folder, error)
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems refuse; the files themselves are complete.
        logger.debug("The folder %s cannot be synced: %s", folder, error)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _create(temporary: Path) -> Iterator[BinaryIO]:
    """Create and lock a temporary file."""
    while True:
        with open(temporary, "xb") as stream:
            lock_descriptor(stream.fileno(), timeout_s=1.0)
            # Another process may have taken it for a leftover before it was locked.
            if temporary.exists():
                yield stream
                return


def _remove_abandoned(temporary: Path) -> bool:
    """Delete a temporary file unless its writer has locked it; return True if it was deleted."""
    if os.name == "nt":  # Windows does not delete a file that is open.
        temporary.unlink()
        return True
    with open(temporary, "rb") as stream:
        # Delete it while it is locked: a writer that has just created it waits, and notices.
        if lock_descriptor(stream.fileno()) is True:
            temporary.unlink()
            return True
    return False
