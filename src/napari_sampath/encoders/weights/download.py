"""Find a weights file at a given path or in the cache, or download it with resuming and verification."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path

import xxhash
from filelock import FileLock, Timeout

from ...config import load_config
from ...errors import StorageError, WeightsError, WeightsMissingError
from ...files import read_json, write_atomically
from ...jobs import Job, Progress
from .transfer import WeightsFile, readable, receive_job, size

logger = logging.getLogger(__name__)

_ATTEMPTS = 3
"""Number of consecutive attempts without new data after which the download fails."""
_PAUSE_S = 1.0
"""Pause in seconds before the second attempt; doubled before the third."""


def locate_job(weights: WeightsFile, explicit: Path | None = None) -> Job[Path]:
    """Find a weights file at a given path or in the cache, or download it into the cache.

    Args:
        weights: Name, address, hash and size.
        explicit: A weights file, which is used without verification, or a folder that contains a file of that name.

    Returns:
        Path of the file; a file in the cache is verified to have the published hash.

    Raises:
        WeightsMissingError: If the file is not on this machine and cannot be downloaded.
        WeightsError: If the cached or downloaded file does not have the published hash.
        StorageError: If the file cannot be written.
    """
    if explicit is not None:
        path = find_explicit(explicit, (weights.name,))
        if path is None:
            raise WeightsMissingError(weights.message(explicit, f"is not in the folder '{explicit}'"))
        return path
    folder = load_config().weights_dir
    target = folder / weights.name
    if not target.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"The folder '{folder}' cannot be created: {error.strerror}; choose another cache."
            ) from error
        lock = yield from _acquire_job(folder / f".{weights.name}.lock", weights)
        try:
            if not target.exists():  # unless another process has downloaded it in the meantime
                yield from _download_job(weights, target)
        finally:
            lock.release()
    if not _verified(target, weights.sha256):
        raise WeightsError(
            f"'{target}' is not the published '{weights.name}' (its checksum differs); "
            "delete it to download it again, or move it elsewhere and give its path as your own weights."
        )
    return target


def find_explicit(explicit: Path, names: Sequence[str]) -> Path | None:
    """Return the weights file at a path, or the first file of `names` if the path is a folder.

    Returns:
        Path of the file; None if the folder contains none of them.

    Raises:
        WeightsMissingError: If there is no such file or folder.
    """
    if explicit.is_dir():
        return next((explicit / name for name in names if (explicit / name).is_file()), None)
    if not explicit.exists():
        raise WeightsMissingError(f"There is no file or folder '{explicit}'; check the path of the weights.")
    return explicit


def _acquire_job(path: Path, weights: WeightsFile) -> Job[FileLock]:
    """Lock the file against downloads by other processes, waiting for them to finish."""
    lock = FileLock(path, thread_local=False)
    while True:
        try:
            lock.acquire(timeout=0.2)
        except Timeout:  # must precede OSError, its base class
            yield Progress(0, 0, f"Waiting for another program to download {weights.name}", "bytes")
        except OSError as error:
            raise StorageError(
                f"The folder '{path.parent}' cannot be written to: {error.strerror}; choose another cache."
            ) from error
        else:
            return lock


def _download_job(weights: WeightsFile, target: Path) -> Job[None]:
    part = target.with_name(target.name + ".part")
    previous, failures = -1, 0
    while not (yield from receive_job(weights, part)):
        received = size(part)
        failures = 0 if received > previous else failures + 1
        previous = received
        if failures == _ATTEMPTS:
            reason = f"is incomplete: {readable(received)} were downloaded and are kept for the next attempt"
            raise WeightsMissingError(weights.message(target.parent, reason))
        yield Progress(received, weights.size, f"Connection lost, retrying {weights.name}", "bytes")
        time.sleep(_PAUSE_S * failures)
    yield Progress(weights.size, weights.size, f"Verifying {weights.name}", "bytes")
    if not _matches(part, weights.sha256):
        part.unlink()
        raise WeightsError(
            f"The download from {weights.url} is not the published '{weights.name}' "
            "(its checksum differs) and was deleted; try again, or download the file by hand."
        )
    part.replace(target)
    _stamp(target, weights.sha256)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _matches(path: Path, published: str) -> bool:
    """Return True if a file has the published hash, or if no hash is published."""
    if not published:
        return True
    if published.startswith("xxh128:"):
        with path.open("rb") as file:
            return hashlib.file_digest(file, xxhash.xxh3_128).hexdigest() == published.removeprefix("xxh128:")
    return _sha256(path) == published


def _verified(target: Path, sha256: str) -> bool:
    """Return True if a file has the published hash; store the result, so that an unchanged file is hashed only once."""
    try:
        note = read_json(_note(target))
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
    if _note(target).is_symlink():
        return
    try:
        text = json.dumps(_facts(target, sha256)).encode()
        write_atomically(_note(target), lambda file: file.write(text))
    except StorageError as error:  # in a read-only shared cache, the file is hashed each time
        logger.info("Cannot store the verification of %s: %s", target, error)
