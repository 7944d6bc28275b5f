"""The append-only log that makes every commit survive a crash.

Format, schema 1: ASCII, one JSON object a line, each with "seq" (its number, rising) and, as last member,
"sum" (32 hex digits of the SHA-256 of the line up to there). The first line, number 0, is the header; the
others are operations ("op": see `operations.operation_to_json`), and undo and redo of the step with the
number "of".
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from filelock import FileLock, Timeout

from ...errors import JournalError, StorageError
from ...files import write_atomically
from ..model.annotated_object import now
from .header import FORMAT, SCHEMA, Header
from .syncer import Syncer

logger = logging.getLogger(__name__)

_SUM_CHARS = 32
_SUM_START = b',"sum":"'


class Journal:
    """One journal file, open for appending by this process only.

    A line is in the file when `append` returns, and stays there however the program ends. A last line that a crash
    tore is cut off when the journal is opened; a line damaged in the middle is left out and all others are used.

    Args:
        path: The file; it is made, with its folder, if it is not there.
        header: For a new file; an existing one must be of the same image.

    Attributes:
        header: The header of the file.
        records: The operations read when it was opened; empty it once they are replayed.

    Raises:
        JournalError: If another session has it open, it is of another image, or it is no journal.
        StorageError: If it cannot be read or made.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self._lock = _lock(path)
        self._torn = False
        self._last = 0
        self._end = 0
        try:
            if not path.exists() or path.stat().st_size == 0:
                first = _seal({"seq": 0, **header.to_json()})
                write_atomically(path, lambda stream: stream.write(first))
            self._stream: BinaryIO = open(path, "r+b", buffering=0)  # noqa: SIM115  # open as long as the session
        except OSError as error:
            self._lock.release()
            _refuse(f"The journal '{path}' cannot be opened", error)
        self._syncer = Syncer(self._stream.fileno())
        self._close = weakref.finalize(self, _close, self._stream, self._syncer, self._lock)
        try:
            self.header = self._read(header)
        except BaseException:
            self.close()
            raise

    @property
    def nbytes(self) -> int:
        """Length of the file."""
        return self._end

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self._last

    def append(self, record: Mapping[str, Any] | str) -> int:
        """Write one record; it is forced to the disk a moment later (see `Syncer` for why that is safe).

        Args:
            record: A JSON object without "seq", "at" and "sum"; or its text, without spaces around it.

        Returns:
            Its number.

        Raises:
            StorageError: If that fails; the journal is as before and the same record may be tried again.
        """
        number = self._last + 1
        line = memoryview(_seal({"seq": number, "at": now()}, record))
        try:
            self._syncer.check()
            if self._torn:
                self._cut()
            self._stream.seek(self._end)
            written = 0
            while written < len(line):
                written += self._stream.write(line[written:])
        except (OSError, ValueError) as error:
            self._take_back()
            _refuse("The last step was not saved and has not been done", error)
        self._last = number
        self._end += len(line)
        self._syncer.ask()
        return number

    def sync(self, timeout_s: float | None = None) -> bool:
        """Wait until everything is forced to the disk; False if it is not by then, or the disk refuses."""
        return self._syncer.wait(timeout_s)

    def encode(self, records: Iterable[Mapping[str, Any]]) -> bytes:
        """Write the header of this journal and records, which have their numbers, as the content of a file."""
        return b"".join(map(_seal, ({"seq": 0, **self.header.to_json()}, *records)))

    def rewrite(self, content: bytes, last: int) -> None:
        """Replace the file by another content, whole or not at all.

        Args:
            content: What `encode` made.
            last: Number of its last record.

        Raises:
            StorageError: If the disk refuses; the journal is as before.
        """
        write_atomically(self.path, lambda stream: stream.write(content))
        # The lock is beside the file, so that nobody else can have opened it in between.
        self._close.detach()
        old = self._stream, self._syncer
        self._stream = open(self.path, "r+b", buffering=0)  # noqa: SIM115  # open as long as the session
        self._syncer = Syncer(self._stream.fileno())
        self._close = weakref.finalize(self, _close, self._stream, self._syncer, self._lock)
        old[1].close()
        old[0].close()
        self._end, self._last, self._torn = len(content), last, False

    def close(self) -> None:
        """Let go of the file, so that another session may open it."""
        self._close()

    def _read(self, expected: Header) -> Header:
        content = self._stream.read()
        lines = content.split(b"\n")
        try:
            first = _unseal(lines[0])
        except ValueError:
            first = {}
        if first.get("format") != FORMAT:
            raise JournalError(
                f"'{self.path}' is no journal of napari-sampath, or its first line is damaged; "
                "move it away or choose another file."
            )
        if first["schema"] != SCHEMA:
            raise JournalError(
                f"The journal '{self.path}' has schema {first['schema']} and this version reads {SCHEMA}; "
                "update napari-sampath."
            )
        header = Header.from_json(first)
        if (header.digest, header.hw) != (expected.digest, expected.hw):
            raise JournalError(
                f"The journal '{self.path}' belongs to the image '{header.image}' "
                f"({header.hw[1]} x {header.hw[0]} px), which is not the one that is open ('{expected.image}', "
                f"{expected.hw[1]} x {expected.hw[0]} px); open that image or choose another journal."
            )
        self._read_lines(lines)
        if self._end < len(content):
            logger.warning(
                "The journal %s ends in %d unreadable bytes, the rest of a step that was never finished; "
                "they are cut off.",
                self.path,
                len(content) - self._end,
            )
            self._cut()
        return header

    def _read_lines(self, lines: list[bytes]) -> None:
        """Collect the readable records and find where the last of them ends."""
        position = len(lines[0]) + 1
        self._end = position
        # What follows the last line end is no whole line, even if it can be read: its append never returned.
        for number, line in enumerate(lines[1:-1], start=2):
            position += len(line) + 1
            try:
                record = _unseal(line)
            except ValueError as error:
                logger.warning("Line %d of the journal %s cannot be read: %s", number, self.path, error)
                continue
            self.records.append(record)
            self._end, self._last = position, record["seq"]

    def _take_back(self) -> None:
        try:
            self._cut()
        except (OSError, ValueError) as error:
            logger.warning("The journal %s could not be cut back: %s", self.path, error)
            self._torn = True

    def _cut(self) -> None:
        self._stream.truncate(self._end)
        os.fsync(self._stream.fileno())
        self._torn = False


def _seal(record: Mapping[str, Any], more: Mapping[str, Any] | str = "{}") -> bytes:
    """Write a record, to which may be added what was made JSON before, as one line with its checksum."""
    if not isinstance(more, str):
        record, more = {**record, **more}, "{}"
    text = json.dumps(record, allow_nan=False, separators=(",", ":"))
    body = (text[:-1] + ("," + more[1:-1] if len(more) > len("{}") else "")).encode()
    return body + _SUM_START + _sum(body) + b'"}\n'


def _unseal(line: bytes) -> dict[str, Any]:
    """Read a line that `_seal` wrote.

    Raises:
        ValueError: If the checksum does not fit, or it is no such line.
    """
    body, mark, rest = line.rpartition(_SUM_START)
    if not mark or rest != _sum(body) + b'"}':
        raise ValueError("the checksum does not fit")
    record = json.loads(body + b"}")
    if not isinstance(record, dict) or not isinstance(record.get("seq"), int):
        raise ValueError("it is no numbered record")
    return record


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_SUM_CHARS].encode()


def _lock(path: Path) -> FileLock:
    """Take the lock beside a journal; the operating system lets go of it when the process dies."""
    # Not bound to a thread: a session may be made in a worker and used in the window's thread.
    lock = FileLock(f"{path}.lock", thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise JournalError(
            f"The annotations in '{path}' are open in another window or program; close them there first."
        ) from None
    except OSError as error:
        _refuse(f"The journal '{path}' cannot be opened", error)
    return lock


def _close(stream: BinaryIO, syncer: Syncer, lock: FileLock) -> None:
    syncer.close()
    with contextlib.suppress(OSError):
        stream.close()
    lock.release()


def _refuse(what: str, error: Exception) -> NoReturn:
    reason = getattr(error, "strerror", None) or str(error)
    raise StorageError(
        f"{what} ({reason}), everything before is safe; free some space or check the disk, then try again."
    ) from error
