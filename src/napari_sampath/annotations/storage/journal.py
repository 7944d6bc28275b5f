"""Append-only file of operations that survives a crash.

Format, schema 1: ASCII, one JSON object per line. Each object has an increasing number "seq" and, as its last member,
"sum", the first 32 hex digits of the SHA-256 digest of the line up to that member. The first line, number 0, is the
header. The others are operations ("op": see `operations.operation_to_json`), undo or redo of the step with the number
"of", or the records "snapshot" and "reserve" of `compaction`.
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


def open_journal(path: Path) -> Journal:
    """Open an existing journal without its image.

    Raises:
        JournalError: If there is no such file, it is not a journal, or another session has it open.
        StorageError: If it cannot be read.
    """
    if not path.is_file():
        raise JournalError(f"There is no journal '{path}'; check the path.")
    return Journal(path, None)


class Journal:
    """One journal file, open for appending by this process only.

    When `append` returns, the line is in the file and survives a crash of the program. An incomplete last line is
    removed when the journal is opened; a damaged line in the middle is skipped.

    Args:
        path: The file; created with its folder if it does not exist.
        header: Header for a new file; an existing file must belong to the same image. None opens an existing file of
            any image.

    Attributes:
        header: The header of the file.
        records: Operations read from the file; clear the list after replaying them.

    Raises:
        JournalError: If another session has it open, or it is not a journal of this image.
        StorageError: If it cannot be read or created.
    """

    def __init__(self, path: Path, header: Header | None) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self._lock = _lock(path)
        self._torn = False
        self._last = 0
        self._end = 0
        try:
            if header is not None and (not path.exists() or path.stat().st_size == 0):
                first = _seal({"seq": 0, **header.to_json()})
                write_atomically(path, lambda stream: stream.write(first))
            self._stream: BinaryIO = open(path, "r+b", buffering=0)  # noqa: SIM115  # open as long as the journal
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
        """Length of the file in bytes."""
        return self._end

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self._last

    def append(self, record: Mapping[str, Any] | str) -> int:
        """Append one record; a `Syncer` flushes it to the disk shortly afterwards.

        Args:
            record: A JSON object without "seq", "at" and "sum", or its JSON text without surrounding spaces.

        Returns:
            The number of the record.

        Raises:
            StorageError: If writing fails; the journal is unchanged and the record can be appended again.
        """
        number = self._last + 1
        line = memoryview(_seal({"seq": number, "at": now()}, record))
        try:
            self._syncer.check()
            if self._torn:
                self._truncate()
            self._stream.seek(self._end)
            written = 0
            while written < len(line):
                written += self._stream.write(line[written:])
        except (OSError, ValueError) as error:
            self._truncate_or_warn()
            _refuse("The last step could not be saved and was not applied", error)
        self._last = number
        self._end += len(line)
        self._syncer.ask()
        return number

    def sync(self, timeout_s: float | None = None) -> bool:
        """Wait until all records are flushed to the disk; return False after the timeout or an error."""
        return self._syncer.wait(timeout_s)

    def encode(self, records: Iterable[Mapping[str, Any]]) -> bytes:
        """Encode the header of this journal and numbered records as the content of a file."""
        return b"".join(map(_seal, ({"seq": 0, **self.header.to_json()}, *records)))

    def rewrite(self, content: bytes, last: int) -> None:
        """Replace the content of the file atomically.

        Args:
            content: Output of `encode`.
            last: Number of its last record.

        Raises:
            StorageError: If the file cannot be written; the journal is unchanged.
        """
        write_atomically(self.path, lambda stream: stream.write(content))
        # The lock is a separate file, so no other process can open the journal in between.
        self._close.detach()
        old = self._stream, self._syncer
        self._stream = open(self.path, "r+b", buffering=0)  # noqa: SIM115  # open as long as the journal
        self._syncer = Syncer(self._stream.fileno())
        self._close = weakref.finalize(self, _close, self._stream, self._syncer, self._lock)
        old[1].close()
        old[0].close()
        self._end, self._last, self._torn = len(content), last, False

    def close(self) -> None:
        """Close the file, so that another session can open it."""
        self._close()

    def _read(self, expected: Header | None) -> Header:
        content = self._stream.read()
        lines = content.split(b"\n")
        try:
            first = _unseal(lines[0])
        except ValueError:
            first = {}
        if first.get("format") != FORMAT:
            raise JournalError(
                f"'{self.path}' is not a journal of napari-sampath, or its first line is damaged; "
                "move it away or choose another file."
            )
        if first["schema"] != SCHEMA:
            raise JournalError(
                f"The journal '{self.path}' has schema {first['schema']}, but this version reads schema {SCHEMA}; "
                "update napari-sampath."
            )
        header = Header.from_json(first)
        if expected is not None and (header.digest, header.hw) != (expected.digest, expected.hw):
            raise JournalError(
                f"The journal '{self.path}' belongs to the image '{header.image}' "
                f"({header.hw[1]} x {header.hw[0]} px), not to the open image '{expected.image}' "
                f"({expected.hw[1]} x {expected.hw[0]} px); open that image or choose another journal."
            )
        self._read_lines(lines)
        if self._end < len(content):
            logger.warning(
                "The journal %s ends with %d unreadable bytes of an incomplete step, which are removed.",
                self.path,
                len(content) - self._end,
            )
            self._truncate()
        return header

    def _read_lines(self, lines: list[bytes]) -> None:
        """Collect the readable records and find the end of the last one."""
        position = len(lines[0]) + 1
        self._end = position
        # Text after the last line break is skipped even if it is readable, because its `append` did not return.
        for number, line in enumerate(lines[1:-1], start=2):
            position += len(line) + 1
            try:
                record = _unseal(line)
            except ValueError as error:
                logger.warning("Line %d of the journal %s cannot be read: %s", number, self.path, error)
                continue
            self.records.append(record)
            self._end, self._last = position, record["seq"]

    def _truncate_or_warn(self) -> None:
        try:
            self._truncate()
        except (OSError, ValueError) as error:
            logger.warning("The journal %s could not be truncated: %s", self.path, error)
            self._torn = True

    def _truncate(self) -> None:
        self._stream.truncate(self._end)
        os.fsync(self._stream.fileno())
        self._torn = False


def _seal(record: Mapping[str, Any], more: Mapping[str, Any] | str = "{}") -> bytes:
    """Encode a record, extended by `more` members (a mapping or JSON text), as one line with a checksum."""
    if not isinstance(more, str):
        record, more = {**record, **more}, "{}"
    text = json.dumps(record, allow_nan=False, separators=(",", ":"))
    body = (text[:-1] + ("," + more[1:-1] if len(more) > len("{}") else "")).encode()
    return body + _SUM_START + _sum(body) + b'"}\n'


def _unseal(line: bytes) -> dict[str, Any]:
    """Decode a line written by `_seal`.

    Raises:
        ValueError: If the checksum is wrong or the line is not a numbered record.
    """
    body, mark, rest = line.rpartition(_SUM_START)
    if not mark or rest != _sum(body) + b'"}':
        raise ValueError("the checksum is wrong")
    record = json.loads(body + b"}")
    if not isinstance(record, dict) or not isinstance(record.get("seq"), int):
        raise ValueError("the line is not a numbered record")
    return record


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:_SUM_CHARS].encode()


def _lock(path: Path) -> FileLock:
    """Lock a journal with a file beside it; the operating system releases the lock when the process ends."""
    # Not bound to a thread, because sessions are opened in a worker thread and used in the GUI thread.
    lock = FileLock(f"{path}.lock", thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise JournalError(
            f"The journal '{path}' is open in another window or program; close the image there first."
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
        f"{what} ({reason}), but all earlier steps are saved; free some space or check the disk, then try again."
    ) from error
