"""Atomic writing of files: a crash, a full disk or a second process never leaves a partial file."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, TypeAlias

from filelock import FileLock, Timeout

from ..errors import SampathError, StorageError

logger = logging.getLogger(__name__)

Write: TypeAlias = Callable[[BinaryIO], object]
"""Function that writes the content of one file to a binary stream."""

LEFTOVER_S = 3600.0
"""Age from which a temporary file counts as left over from a killed process, in seconds."""

LOCK_S = 10.0
"""How long to wait for another program that writes the same file, in seconds."""

_SUFFIX = ".part"
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: str | Path, write: Write) -> None:
    """Write a file so that a reader always finds the old content or the new, also after a crash.

    The content is written to a temporary file in the same folder, synced to the disk, and the file renamed. Missing
    folders are created, links followed, and the permissions of a replaced file kept.

    Args:
        path: The file.
        write: Called once with a binary stream open for writing.

    Raises:
        StorageError: If writing fails (full disk, no permission, a folder of that name); the old content is untouched.
    """
    write_together({Path(path): write})


def write_together(files: Mapping[Path, Write]) -> None:
    """Write several files that belong together: either all are replaced, or none.

    All contents are on the disk before the first file is renamed; if a rename fails, the earlier ones are reverted.
    Only a power cut between two renames can leave a mixture of old and new files, each of them complete.

    Args:
        files: Path -> function that writes its content.

    Raises:
        StorageError: As for `write_atomically`.
    """
    staged: dict[Path, Path] = {}
    current = Path()
    try:
        for current, write in files.items():
            target = Path(os.path.realpath(current))
            _refuse_special(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            staged[target] = _temporary(target.parent)
            _write_durably(staged[target], target, write)
        _rename_all(staged)
    except SampathError:
        raise
    except OSError as error:
        raise _storage_error(current if len(files) == 1 else current.parent, error) from error
    finally:
        for temporary in staged.values():
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: str | Path, timeout_s: float = LOCK_S) -> Iterator[None]:
    """Lock a file against changes by other threads and programs that use this lock.

    Args:
        path: The file; it need not exist.
        timeout_s: How long to wait for the lock, in seconds.

    Raises:
        StorageError: If the wait takes longer, or the lock cannot be created.
    """
    path = Path(path)
    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=timeout_s)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise StorageError(
            f"Another program has been writing '{path}' for {timeout_s:.0f} s; close it and try again."
        ) from None
    except OSError as error:
        raise _storage_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


def remove_leftovers(folder: Path, older_than_s: float = LEFTOVER_S) -> int:
    """Delete temporary files that killed processes left in a folder, not in its subfolders.

    Args:
        folder: The folder; it need not exist.
        older_than_s: Younger files are kept, because another process may be writing them; in seconds.

    Returns:
        Number of files deleted.
    """
    removed = 0
    oldest = time.time() - older_than_s
    for leftover in folder.glob(f".*{_SUFFIX}"):
        # Another process may delete the same file.
        with contextlib.suppress(OSError):
            if leftover.stat().st_mtime <= oldest:
                leftover.unlink()
                removed += 1
    return removed


def _temporary(folder: Path) -> Path:
    # Independent of the target's name, which may have the maximum length already.
    return folder / f".{uuid.uuid4().hex}{_SUFFIX}"


def _refuse_special(target: Path) -> None:
    """Raise if `target` exists and is not a plain file: renaming over a device would destroy it."""
    if target.is_dir():
        raise StorageError(f"'{target}' is a folder; give the name of a file in it.")
    if target.exists() and not target.is_file():
        raise StorageError(f"'{target}' is a device or a pipe; give the name of a file.")


def _write_durably(temporary: Path, target: Path, write: Write) -> None:
    with open(temporary, "xb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    with contextlib.suppress(FileNotFoundError):
        os.chmod(temporary, stat.S_IMODE(target.stat().st_mode))


def _rename_all(staged: Mapping[Path, Path]) -> None:
    """Rename every temporary file to its target; on an error, restore the targets replaced so far."""
    previous: dict[Path, Path | None] = {}
    done: list[Path] = []
    try:
        if len(staged) > 1:
            for target in staged:
                previous[target] = _keep(target)
        for target, temporary in staged.items():
            os.replace(temporary, target)
            done.append(target)
    except OSError:
        for target in done:
            kept = previous.get(target)
            with contextlib.suppress(OSError):
                if kept is None:
                    target.unlink()
                else:
                    os.replace(kept, target)
        raise
    finally:
        for kept in previous.values():
            if kept is not None:
                kept.unlink(missing_ok=True)
    for folder in {target.parent for target in staged}:
        _sync_folder(folder)


def _keep(target: Path) -> Path | None:
    """Create a hard link to a file, or a copy if the file system has no hard links; None if there is no file."""
    if not target.exists():
        return None
    kept = _temporary(target.parent)
    try:
        os.link(target, kept)
    except OSError:
        try:
            shutil.copy2(target, kept)
        except OSError:
            kept.unlink(missing_ok=True)
            raise
    return kept


def _sync_folder(folder: Path) -> None:
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


def _storage_error(path: Path, error: OSError) -> StorageError:
    if error.errno in _NO_SPACE:
        advice = "free some space or choose another folder"
    elif error.errno in _NO_PERMISSION:
        advice = "choose a folder in which you may write"
    else:
        advice = "check the folder or choose another one"
    failure = StorageError(
        f"Could not write '{path}' ({error.strerror or error}); the earlier content is untouched: {advice}."
    )
    failure.errno = error.errno
    return failure
