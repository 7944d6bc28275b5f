"""Disk tier of the store: one verified file per tile, shared between processes.

The path of a file is `<first two hex digits>/<digest>.safetensors`. The file contains the maps as float16, and in its
metadata the key and an XXH3 checksum of the maps.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import safetensors.torch
import torch
import xxhash
from safetensors import SafetensorError
from torch import Tensor

from ..errors import StorageError
from ..files import from_json, open_regular, parse_json, remove_leftovers, write_atomically
from ..jobs import Job, Progress
from .base import FeatureKey, Maps, StoreTier, TierInfo

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_AFTER_EVICTION = 0.9
"""Fraction of the limit that stays in use after an eviction, so that not every write evicts entries."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Result of verifying all entries."""

    checked: int
    """Number of entries read."""
    dropped: int
    """Number of damaged entries, which were deleted."""


class DamagedEntryError(ValueError):
    """Raised if the content of an entry differs from what was written; caught within this module."""


class DiskTier(StoreTier):
    """LRU cache of tiles in a folder.

    Several processes may share the folder: complete files are renamed into place, an entry that another process has
    deleted counts as not cached, and the modification time of a file is the time of its last use.

    Args:
        folder: The folder; created on the first write.
        limit_bytes: Size limit of all entries in bytes; processes that write at the same time may exceed it by
            a few entries.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self.folder = folder
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._unmeasured_bytes = 0
        """Number of bytes that may be written before the folder is measured again."""

    def path(self, key: FeatureKey) -> Path:
        """Return the path of an entry, whether it exists or not."""
        return self._path(key.digest)

    def get(self, key: FeatureKey) -> dict[str, Tensor] | None:
        """Return float16 maps on the CPU, or None if they are not cached; delete and log a damaged entry."""
        return self.find(key.digest)

    def find(self, digest: str) -> dict[str, Tensor] | None:
        """Return the maps of the key with this digest; see `get`."""
        path = self._path(digest)
        try:
            maps = _read(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning(
                "The cached features %s cannot be read and will be computed again: %s", path, error
            )
            return None
        except DamagedEntryError as error:
            self._drop_damaged(path, error)
            return None
        _touch(path)
        return maps

    def put(self, key: FeatureKey, maps: Maps) -> None:
        """Write maps as float16, unless they are cached already.

        Maps with values outside the range of float16 (above 65,504, or not finite) are not written, with a warning.

        Raises:
            StorageError: If the disk is full or the folder may not be written to.
        """
        path = self.path(key)
        if path.exists():
            _touch(path)
            return
        halves = {
            name: tensor.detach().to("cpu", torch.float16).contiguous() for name, tensor in maps.items()
        }
        if not all(bool(torch.isfinite(tensor).all()) for tensor in halves.values()):
            logger.warning(
                "Features of '%s' have values outside the range of float16 and are not cached on disk.",
                key.encoder,
            )
            return
        metadata = {"key": json.dumps(asdict(key), sort_keys=True), "xxh3_128": _maps_digest(halves)}
        content = safetensors.torch.save(halves, metadata)
        if len(content) > self.limit_bytes:
            logger.warning(
                "Features of %d bytes are not cached, since they exceed the disk limit of %d bytes.",
                len(content),
                self.limit_bytes,
            )
            return
        with self._lock:
            self._evict(len(content))
        write_atomically(path, lambda stream: stream.write(content))
        _touch(path)

    def discard(self, key: FeatureKey) -> None:
        """Delete the maps of `key` if they are cached.

        Raises:
            StorageError: If the folder may not be written to.
        """
        _delete(self.path(key))

    def clear(self) -> int:
        """Delete all entries and return their number; other files in the folder are kept.

        Raises:
            StorageError: If the folder may not be written to.
        """
        count = 0
        for path in list(self._paths()):
            _delete(path)
            count += 1
        with self._lock:
            self._unmeasured_bytes = 0
        for shard in self._shards():
            remove_leftovers(shard)
            with contextlib.suppress(OSError):  # not empty: another process writes there
                shard.rmdir()
        return count

    def info(self) -> TierInfo:
        """Return the number and total size of the entries."""
        entries = self._measure()
        return TierInfo(len(entries), sum(size for _, size, _ in entries), self.limit_bytes, str(self.folder))

    def verify_job(self) -> Job[Verification]:
        """Verify all entries, and delete and log damaged ones."""
        paths = list(self._paths())
        checked = dropped = 0
        for done, path in enumerate(paths):
            yield Progress(done, len(paths), "Verifying cached features", "tiles")
            try:
                _read(path)
                checked += 1
            except DamagedEntryError as error:
                self._drop_damaged(path, error)
                checked += 1
                dropped += 1
            except FileNotFoundError:
                continue  # evicted by another process in the meantime
            except OSError as error:
                logger.warning("The cached features %s cannot be read: %s", path, error)
        return Verification(checked, dropped)

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}{_SUFFIX}"

    def _shards(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if len(path.name) == 2 and path.is_dir()]
        except OSError:
            return []

    def _paths(self) -> Iterator[Path]:
        for shard in self._shards():
            with contextlib.suppress(OSError):
                yield from shard.glob(f"*{_SUFFIX}")

    def _measure(self) -> list[tuple[int, int, Path]]:
        """List (time of last use, bytes, path) of all entries, least recently used first."""
        entries = []
        for path in self._paths():
            with contextlib.suppress(OSError):
                status = path.stat()
                entries.append((status.st_mtime_ns, status.st_size, path))
        return sorted(entries)

    def _evict(self, new_bytes: int) -> None:
        """Delete the least recently used entries if `new_bytes` more would exceed the limit.

        Measuring the folder reads the size of every file. It is therefore repeated only after an eighth of the space
        that was free at the last measurement has been written; other processes may have used the remainder.
        """
        self._unmeasured_bytes -= new_bytes
        if self._unmeasured_bytes > 0:
            return
        for shard in self._shards():
            remove_leftovers(shard)
        entries = self._measure()
        total = sum(size for _, size, _ in entries)
        if total + new_bytes > self.limit_bytes:
            for _, size, path in entries:
                if total + new_bytes <= self.limit_bytes * _AFTER_EVICTION:
                    break
                # Windows does not delete a file that another process has open: delete the next one instead.
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
                    total -= size
        self._unmeasured_bytes = (self.limit_bytes - total - new_bytes) // 8

    def _drop_damaged(self, path: Path, error: DamagedEntryError) -> None:
        logger.warning(
            "The cached features %s are damaged (%s); they are deleted and will be computed again.",
            path,
            error,
        )
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _touch(path: Path) -> None:
    """Set the time of last use, at a finer resolution than the file system's clock (milliseconds)."""
    now = time.time_ns()
    with contextlib.suppress(OSError):  # deleted by another process, or read-only
        os.utime(path, ns=(now, now))


def _delete(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(
            f"Could not delete the cached features '{path}' ({error.strerror}); delete the folder by hand."
        ) from error


def _read(path: Path) -> dict[str, Tensor]:
    """Read and verify one entry.

    The file is not memory-mapped, since truncation by another process would then crash this process.

    Raises:
        OSError: If the file cannot be read.
        DamagedEntryError: If the content is not what was written under this name.
    """
    with open_regular(path) as stream:
        content = stream.read()
    try:
        maps = safetensors.torch.load(content)
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        metadata = header["__metadata__"]
        key = from_json(FeatureKey, parse_json(metadata["key"]))
        digest = metadata["xxh3_128"]
    except (SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise DamagedEntryError("it is truncated or not a safetensors file") from error
    if key.digest != path.stem:
        raise DamagedEntryError("its key does not match its name")
    if _maps_digest(maps) != digest:
        raise DamagedEntryError("its checksum is wrong")
    return maps


def _maps_digest(maps: Maps) -> str:
    """Hash names, types, shapes and values of all maps (CPU, contiguous)."""
    digest = xxhash.xxh3_128()
    for name in sorted(maps):
        tensor = maps[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode("utf-8"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
