"""Store of compressed tiles: in memory up to a limit, and above it in one temporary file."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import tempfile
import threading
import weakref
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from ...errors import StorageError

logger = logging.getLogger(__name__)

MEMORY_BYTES = 2**30
"""Default for the compressed bytes of one document that stay in memory."""
SPARE_BYTES = 2**28
"""Free space that the temporary file leaves on its disk for journals, in bytes."""

_UNIT = 1024
"""The space of each entry in the file is a multiple of this number of bytes, so that later entries can use it again."""
_GROWTH = 2**24
"""The free space of the disk is checked each time the file has grown by this number of bytes."""


class Stored:
    """Bytes in a `TileStore`, which uses their space again as soon as this object is deleted."""

    __slots__ = ("_place", "_store", "nbytes")

    def __init__(self, store: TileStore, place: bytes | int, nbytes: int) -> None:
        self._store = store
        self._place = place
        """The bytes themselves, or their offset in the file."""
        self.nbytes = nbytes

    @property
    def in_file(self) -> bool:
        """Whether the bytes are in the temporary file, not in memory."""
        return isinstance(self._place, int)

    def read(self) -> bytes:
        """Return the bytes.

        Raises:
            StorageError: If the temporary file cannot be read.
        """
        return self._store.read(self._place, self.nbytes) if isinstance(self._place, int) else self._place

    def __del__(self) -> None:
        # The store frees the space later, because this may be called while this thread holds the lock of the store.
        self._store.deleted.append((self._place if isinstance(self._place, int) else None, self.nbytes))


class TileStore:
    """Keeps the compressed tiles of a document and of its snapshots, forks and undo history; safe to use from threads.

    Once the tiles exceed the limit, new ones are written to a temporary file. The file has no name where the system
    allows it, so it disappears with the store or, at the latest, with the process. If it cannot be written, tiles stay
    in memory, and `take_note` says so once.

    Args:
        folder: Folder of the temporary file, usually that of the journal; None keeps all tiles in memory. May be set
            later.
        memory_bytes: Number of compressed bytes that stay in memory. May be set later.
    """

    def __init__(self, folder: Path | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        self.folder = folder
        self.memory_bytes = memory_bytes
        self.deleted: deque[tuple[int | None, int]] = deque()
        """Offset in the file, or None, and number of bytes of deleted `Stored` objects."""
        self._lock = threading.Lock()
        self._in_memory = 0
        self._file: Any = None
        self._end = 0
        self._checked_end = 0
        self._free: defaultdict[int, list[int]] = defaultdict(list)
        """Number of units -> offsets of unused space of this size."""
        self._has_warned = False
        self._note = ""

    @property
    def in_memory_bytes(self) -> int:
        """Number of compressed bytes in memory."""
        with self._lock:
            self._free_deleted()
            return self._in_memory

    @property
    def file_bytes(self) -> int:
        """Size of the temporary file in bytes."""
        return self._end

    def add(self, data: bytes) -> Stored:
        """Store bytes: in memory if the limit allows it, else in the file."""
        with self._lock:
            self._free_deleted()
            if self.folder is not None and self._in_memory + len(data) > self.memory_bytes:
                try:
                    return Stored(self, self._write(data, self.folder), len(data))
                except OSError as error:
                    self._warn(error)
            self._in_memory += len(data)
            return Stored(self, data, len(data))

    def read(self, offset: int, nbytes: int) -> bytes:
        """Read bytes from the file; see `Stored.read`."""
        try:
            if hasattr(os, "pread"):  # Unlike `seek` and `read`, `pread` is safe in several threads.
                data = os.pread(self._file.fileno(), nbytes, offset)
            else:
                with self._lock:
                    self._file.seek(offset)
                    data = bytes(self._file.read(nbytes))
            if len(data) < nbytes:
                raise OSError(errno.EIO, f"{nbytes - len(data)} bytes are missing")
        except (OSError, ValueError) as error:
            raise StorageError(
                f"The temporary file of the annotations in '{self.folder}' cannot be read ({_reason(error)}), but all "
                "steps are saved in the journal; check the disk, then close the image and open it again."
            ) from error
        return data

    def take_note(self) -> str:
        """Return a sentence for the user if the file could not be written; "" after the first call and otherwise."""
        note, self._note = self._note, ""
        return note

    def _write(self, data: bytes, folder: Path) -> int:
        """Write bytes to unused space of the file and return their offset; call it with the lock held."""
        if self._file is None:
            # On Windows a power cut leaves the file; `files.remove_leftovers` deletes files with this suffix.
            self._file = tempfile.TemporaryFile(buffering=0, prefix=".", suffix=".part", dir=folder)  # noqa: SIM115
            weakref.finalize(self, self._file.close)
        units = -(-len(data) // _UNIT)
        offset = self._free[units].pop() if self._free[units] else self._append(units * _UNIT, folder)
        try:
            self._file.seek(offset)
            written = 0
            while written < len(data):
                written += self._file.write(memoryview(data)[written:])
        except OSError:
            self._free[units].append(offset)
            raise
        return offset

    def _append(self, nbytes: int, folder: Path) -> int:
        """Reserve space at the end of the file and return its offset."""
        if self._end + nbytes > self._checked_end:
            if shutil.disk_usage(folder).free < SPARE_BYTES:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._checked_end = self._end + nbytes + _GROWTH
        self._end += nbytes
        return self._end - nbytes

    def _free_deleted(self) -> None:
        """Free the space of deleted bytes; call it with the lock held."""
        while self.deleted:
            offset, nbytes = self.deleted.popleft()
            if offset is None:
                self._in_memory -= nbytes
            else:
                self._free[-(-nbytes // _UNIT)].append(offset)

    def _warn(self, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._note = (
                f"The annotations need more than {self.memory_bytes / 2**20:,.0f} MiB of memory, and a temporary file "
                f"in '{self.folder}' cannot be written ({_reason(error)}), so they stay in memory and are saved as "
                "before; check the folder and the free space of its disk."
            )
            logger.warning("%s", self._note)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
