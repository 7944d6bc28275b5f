"""Where a weights file lies: named by the user, in the cache, or downloaded (resumed, checked) into it."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import requests
import xxhash
from filelock import FileLock, Timeout

from ...config import load_config
from ...errors import StorageError, WeightsError, WeightsMissingError
from ...jobs import Job, Progress, run

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

_CHUNK = 2**18
"""Bytes between two reports; what is read of a piece when the connection breaks is lost."""
_TIMEOUT_S = (10.0, 30.0)
"""To connect, and between two pieces."""
_ATTEMPTS = 3
"""How often in a row a lost connection is taken up again in vain before the user is told."""
_PAUSE_S = 1.0
"""Before the second attempt; then twice, then three times that."""


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A file that is published under a fixed address."""

    name: str
    """File name, also in the cache."""
    url: str
    sha256: str
    """Hex digits; "xxh128:" and hex digits where only that is published; empty if no hash is: then the length
    that the server tells is all there is to check."""
    size: int
    """Bytes, for messages and progress; the hash decides."""

    def sentence(self, folder: Path, reason: str) -> str:
        """Say which file to put where."""
        return (
            f"The weights file '{self.name}' ({_readable(self.size)}) {reason}; "
            f"download {self.url} and put it into '{folder}'."
        )


def locate(name: str, url: str, sha256: str, size: int, explicit: Path | None = None) -> Path:
    """Find a weights file, downloading it if need be; see `locate_job`."""
    return run(locate_job(WeightsFile(name, url, sha256, size), explicit))


def locate_job(wanted: WeightsFile, explicit: Path | None = None) -> Job[Path]:
    """Find a weights file: where the user says, in the cache, or by downloading it into the cache.

    Args:
        wanted: Its name, address, hash and size.
        explicit: A file (taken as it is), or a folder that holds a file of that name.

    Returns:
        The file. Files in the cache have the published hash.

    Raises:
        WeightsMissingError: If it is not there and cannot be downloaded.
        WeightsError: If what lies in the cache or was downloaded has another hash.
        StorageError: If it cannot be written.
    """
    if explicit is not None:
        return _explicit(wanted, explicit)
    folder = load_config().weights_dir
    target = folder / wanted.name
    if not target.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The folder '{folder}' cannot be made: {error.strerror}; choose another cache."
            ) from error
        lock = yield from _acquire(folder / f".{wanted.name}.lock", wanted)
        try:
            if not target.exists():  # another process may have finished it meanwhile
                yield from _download(wanted, target)
        finally:
            lock.release()
    if not _verified(target, wanted.sha256):
        raise WeightsError(
            f"'{target}' is not the published '{wanted.name}' (its checksum differs); "
            "delete it to download it again, or move it elsewhere and name it as your own weights."
        )
    return target


def _explicit(wanted: WeightsFile, explicit: Path) -> Path:
    if explicit.is_dir():
        if (explicit / wanted.name).is_file():
            return explicit / wanted.name
        raise WeightsMissingError(wanted.sentence(explicit, f"is not in the folder '{explicit}'"))
    if not explicit.exists():
        raise WeightsMissingError(f"There is no file or folder '{explicit}'; check the path of the weights.")
    return explicit


def _acquire(path: Path, wanted: WeightsFile) -> Job[FileLock]:
    """Wait for other processes that download the same file; can be cancelled."""
    lock = FileLock(path, thread_local=False)
    while True:
        try:
            lock.acquire(timeout=0.2)
        except Timeout:
            # Timeout is an OSError too.
            yield Progress(0, 0, f"Waiting for another program that downloads {wanted.name}", "bytes")
        except OSError as error:
            raise StorageError(
                f"The folder '{path.parent}' cannot be written to: {error.strerror}; choose another cache."
            ) from error
        else:
            return lock


def _download(wanted: WeightsFile, target: Path) -> Job[None]:
    part = target.with_name(target.name + ".part")
    known, failures = -1, 0
    while not (yield from _receive(wanted, part)):
        here = _size(part)
        failures = 0 if here > known else failures + 1
        known = here
        if failures == _ATTEMPTS:
            reason = f"is not complete: the download broke off after {_readable(here)}, kept for the next try"
            raise WeightsMissingError(wanted.sentence(target.parent, reason))
        yield Progress(here, wanted.size, f"Connection lost, trying again for {wanted.name}", "bytes")
        time.sleep(_PAUSE_S * failures)
    yield Progress(wanted.size, wanted.size, f"Checking {wanted.name}", "bytes")
    if not _matches(part, wanted.sha256):
        part.unlink()
        raise WeightsError(
            f"What was downloaded from {wanted.url} is not the published '{wanted.name}' "
            "(its checksum differs), so it was deleted; try again, or download it by hand."
        )
    part.replace(target)
    _stamp(target, wanted.sha256)


def _receive(wanted: WeightsFile, part: Path) -> Job[bool]:
    """Fetch what is missing of the file; False if the connection broke off before the end."""
    here = _size(part)
    # Compressed answers have no byte ranges that match the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={here}-"} if here else {})
    try:
        answer = requests.get(wanted.url, headers=headers, stream=True, timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        logger.info("Downloading %s failed: %s", wanted.url, error)
        if here:
            return False
        reason = f"is not on this machine and could not be downloaded (no connection to {wanted.url.split('/')[2]})"
        raise WeightsMissingError(wanted.sentence(part.parent, reason)) from error
    with answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:
            return True  # all of it is here, or what is here is no beginning of it: the hash tells
        if not answer.ok:
            reason = f"is not on this machine and could not be downloaded (the server answers {answer.status_code})"
            raise WeightsMissingError(wanted.sentence(part.parent, reason))
        done = here if answer.status_code == requests.codes.partial_content else 0
        total = done + int(answer.headers.get("Content-Length", wanted.size - done))
        _check_space(part.parent, total - done, wanted)
        try:
            with part.open("ab" if done else "wb") as file:
                for piece in answer.iter_content(_CHUNK):
                    file.write(piece)
                    done += len(piece)
                    yield Progress(done, total, f"Downloading {wanted.name}", "bytes")
        except requests.RequestException as error:
            logger.info("The connection to %s broke off: %s", wanted.url, error)
            return False
        except OSError as error:
            raise StorageError(
                f"'{part}' cannot be written: {error.strerror}; free some space or choose another cache."
            ) from error
        return done >= total


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _check_space(folder: Path, needed: int, wanted: WeightsFile) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StorageError(
            f"'{wanted.name}' needs {_readable(needed)} and '{folder}' has {_readable(free)} left; "
            "free some space or choose another cache."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _matches(path: Path, published: str) -> bool:
    """Compare a file with its published hash; True if there is none."""
    if not published:
        return True
    if published.startswith("xxh128:"):
        with path.open("rb") as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest() == published.removeprefix("xxh128:")
    return _sha256(path) == published


def _verified(target: Path, sha256: str) -> bool:
    """Compare a file's hash, once: the answer is kept beside it with the size and time it holds for."""
    try:
        note = json.loads(_note(target).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        note = None
    if note == _facts(target, sha256):
        return True
    if not _matches(target, sha256):
        return False
    _stamp(target, sha256)
    return True


def _facts(target: Path, sha256: str) -> dict[str, object]:
    stat = target.stat()
    return {"sha256": sha256, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _note(target: Path) -> Path:
    return target.with_name(f".{target.name}.verified.json")


def _stamp(target: Path, sha256: str) -> None:
    try:
        _note(target).write_text(json.dumps(_facts(target, sha256)), encoding="utf-8")
    except (
        OSError
    ) as error:  # a cache that cannot be written to (shared by an administrator) is hashed each time
        logger.info("The check of %s is not remembered: %s", target, error)


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
