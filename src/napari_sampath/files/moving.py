"""Move files from the folder where earlier versions kept them."""

from __future__ import annotations

import contextlib
import filecmp
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .atomic import sync, sync_folder, temporary_path
from .journal_files import JOURNAL_SUFFIX as SUFFIX
from .journal_files import named_files, remove_unnamed
from .locks import lock_descriptor
from .names import free_name

logger = logging.getLogger(__name__)


def move_earlier(source: Path, target: Path) -> None:
    """Move journals (.jsonl) and states (.json); nothing is replaced, and what cannot be moved stays where it is.

    Files that another program has open are left for the next start. If there is another journal of the same name
    already, the name of the moved one gets a number.
    """
    for path in sorted(source.glob("*.json*")):
        if path.suffix not in (".json", SUFFIX) or not path.is_file():
            continue
        try:
            target.mkdir(parents=True, exist_ok=True)
            with _unused(path) as is_unused:
                if is_unused:
                    _move(path, target)
        except OSError as error:
            logger.warning("'%s' could not be moved to '%s': %s", path, target, error)


@contextlib.contextmanager
def _unused(path: Path) -> Iterator[bool]:
    """Lock a file as this and earlier versions do; yield False if another program has it open."""
    lock = FileLock(f"{path}.lock" if path.suffix == SUFFIX else path.with_name(f".{path.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        with open(path, "r+b") as stream:
            yield lock_descriptor(stream.fileno()) is not False
    except FileNotFoundError:  # Another process moved it.
        yield False
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink()


def _move(path: Path, folder: Path) -> None:
    beside = [file for file in named_files(path) if file.is_file()] if path.suffix == SUFFIX else []
    for file in beside:  # Before the journal that names them
        with contextlib.suppress(FileExistsError):
            _link(file, folder / file.name)
    _move_file(path, folder)
    remove_unnamed(beside)


def _move_file(path: Path, folder: Path) -> None:
    target = folder / path.name
    while True:
        try:
            _link(path, target)
            break
        except FileExistsError:
            if filecmp.cmp(path, target, shallow=False):  # An earlier move was interrupted.
                break
            if path.suffix != SUFFIX:
                logger.warning("'%s' is kept, because there is a newer '%s'.", path, target)
                return
            names = [other.stem for other in folder.glob(f"*{SUFFIX}")]
            target = folder / (free_name(path.stem, names) + SUFFIX)
    sync_folder(folder)
    path.unlink()


def _link(path: Path, target: Path) -> None:
    """Create a second name of a file, or a copy on another disk; never replace a file."""
    try:
        os.link(path, target)
    except FileExistsError:
        raise
    except OSError:
        temporary = temporary_path(target.parent, ".part")
        try:
            with open(path, "rb") as source, open(temporary, "xb") as copy:
                lock_descriptor(copy.fileno(), timeout_s=1.0)
                shutil.copyfileobj(source, copy)
                sync(copy)
                if os.path.lexists(target):
                    raise FileExistsError(17, "File exists", str(target)) from None
                os.rename(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
