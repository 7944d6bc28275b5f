"""Append-only file of operations that survives a crash.

Format: ASCII, one JSON object per line. Each object has an increasing number "seq" and, as its last member,
"sum", the first 32 hex digits of the SHA-256 digest of the line up to that member. The first line, number 0, is the
header. The others are operations ("op": see `operations.operation_to_json`), undo or redo of the step with the number
"of", or the records "snapshot" and "reserve" of `compaction`. Schema 1 has images and masks of single pixels; schema 2
adds slides, masks with a "step", snapshots with objects in several masks, and steps with objects in a "file" beside the
journal (see `model.object_file`).
"""

from __future__ import annotations

import dataclasses
import errno
import logging
import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ...errors import JournalError, StorageError
from ...files import free_name
from ..model.annotated_object import now
from .header import Header, checked_header
from .lines import seal, split, unseal
from .open_file import OpenFile, create, create_if_missing

logger = logging.getLogger(__name__)

_SCHEMA_2_MEMBERS = (b'"step":', b'"more":', b'"file":')
"""Members that versions before schema 2 would ignore; a quote inside of a text is escaped."""


def open_journal(path: Path) -> Journal:
    """Open an existing journal without its image, to read it; the file is not changed.

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
    removed when the journal is opened; a damaged line in the middle is skipped. If the file is deleted or moved while
    it is open, it is written again at the next step.

    Args:
        path: The file; created with its folder if it does not exist.
        header: Header for a new file; an existing file must belong to the same image, and gets the current name of the
            image. None opens an existing file of any image for reading.

    Attributes:
        header: The header of the file.
        records: Operations read from the file; clear the list after replaying them.
        notes: Sentences about lines that could not be read.
        notice: Called with a sentence if the file had to be written again.

    Raises:
        JournalError: If another session has it open, or it is not a journal of this image.
        StorageError: If it cannot be read or created.
    """

    def __init__(self, path: Path, header: Header | None) -> None:
        self.path = path
        self.records: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.notice: Callable[[str], object] = logger.warning
        self._torn = False
        self._last = 0
        self._end = 0
        try:
            if header is not None:
                if path.exists() and path.stat().st_size == 0:
                    self.notes.append(
                        f"The journal '{path}' was empty, so it begins anew; look for a backup of it."
                    )
                create_if_missing(path, seal({"seq": 0, **header.to_json()}))
            self._file = OpenFile(path, read_only=header is None)
        except OSError as error:
            _refuse(f"The journal '{path}' cannot be opened", error)
        self._close = weakref.finalize(self, self._file.close)
        try:
            self.header = self._read(header)
            if header is not None and header.image != self.header.image:
                self._rename_image(header.image)
        except OSError as error:
            self.close()
            _refuse(f"The journal '{path}' cannot be read", error)
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

    @property
    def is_replaceable(self) -> bool:
        """Whether `rewrite` may replace the file; False if it has hard links or was opened for reading only."""
        return not self._file.read_only and not self._file.has_other_names

    def append(self, record: Mapping[str, Any] | str) -> int:
        """Append one record; a `Syncer` flushes it to the disk shortly afterwards.

        Args:
            record: A JSON object without "seq", "at" and "sum", or its JSON text without surrounding spaces.

        Returns:
            The number of the record.

        Raises:
            StorageError: If writing fails; the journal is unchanged and the record can be appended again.
        """
        if self._file.read_only:
            raise StorageError(
                f"The journal '{self.path}' was opened for reading only; open its image to change it."
            )
        number = self._last + 1
        line = memoryview(sealed := seal({"seq": number, "at": now()}, record))
        try:
            self._file.syncer.check()
            if self._torn:
                self._truncate()
            self._find_again()
            self._change_header(self._header_for(sealed))
            stream = self._file.stream
            stream.seek(self._end)
            written = 0
            while written < len(line):
                written += stream.write(line[written:])
        except (OSError, ValueError) as error:
            if isinstance(error, StorageError):
                raise
            self._truncate_or_warn()
            _refuse("The last step could not be saved and was not applied", error)
        self._last = number
        self._end += len(line)
        self._file.syncer.ask()
        return number

    def sync(self, timeout_s: float | None = None) -> bool:
        """Wait until all records are flushed to the disk; return False after the timeout or an error."""
        return self._file.syncer.wait(timeout_s)

    def encode(self, records: Iterable[Mapping[str, Any]]) -> bytes:
        """Encode the header of this journal and numbered records as the content of a file."""
        lines = b"".join(map(seal, records))
        return seal({"seq": 0, **self._header_for(lines).to_json()}) + lines

    def rewrite(self, content: bytes, last: int) -> None:
        """Replace the content of the file atomically.

        Args:
            content: Output of `encode`.
            last: Number of its last record.

        Raises:
            StorageError: If the file cannot be written; the journal is unchanged.
        """
        target = Path(os.path.realpath(self.path))
        try:
            if self._file.place() != "same":
                raise OSError(errno.ESTALE, "the file was moved")
            # The new file is locked before it gets its name, so no other process can open it in between.
            self._file.switch(create(target, content, replace=True), self.path)
        except OSError as error:
            _refuse(f"The journal '{self.path}' could not be shortened", error)
        self._end, self._last, self._torn = len(content), last, False

    def close(self) -> None:
        """Close the file, so that another session can open it."""
        self._close()

    def _read(self, expected: Header | None) -> Header:
        self._file.stream.seek(0)
        content = self._file.stream.readall()  # type: ignore[attr-defined]  # it is not buffered
        header = self._read_header(content, expected)
        ends_with_line = self._read_lines(content)
        if self._file.read_only:
            return header
        if self._end < len(content):
            logger.warning(
                "The journal %s ends with %d unreadable bytes of an incomplete step, which are removed.",
                self.path,
                len(content) - self._end,
            )
            self.notes.append(
                f"The last step of the journal '{self.path}' is incomplete and was removed; check the last object."
            )
            self._truncate()
        elif not ends_with_line:
            self._file.stream.seek(self._end)
            self._end += self._file.stream.write(b"\n")
        return header

    def _read_header(self, content: bytes, expected: Header | None) -> Header:
        first: dict[str, Any] = {}
        for line, end, _ in split(content):
            self._end = end
            try:
                first = unseal(line)
            except ValueError:
                logger.debug("The first line of %s cannot be read.", self.path)
            break
        return checked_header(first, self.path, expected)

    def _read_lines(self, content: bytes) -> bool:
        """Collect the readable records and find the end of the last one; return True if it ends with a line break."""
        damaged, complete, is_clean = 0, True, True
        for number, (line, end, has_end) in enumerate(split(content), start=1):
            if number == 1:
                complete = has_end
                continue
            if not line:
                if is_clean:
                    self._end, complete = end, has_end
                continue
            try:
                record = unseal(line)
                if record["seq"] <= self._last:
                    raise ValueError(f"it repeats step {record['seq']}")
            except ValueError as error:
                damaged, is_clean = damaged + has_end, False
                if has_end:
                    logger.warning("Line %d of the journal %s cannot be read: %s", number, self.path, error)
                continue
            self.records.append(record)
            self._end, self._last, complete, is_clean = end, record["seq"], has_end, True
        if damaged:
            self.notes.append(
                f"{damaged} line{'s' * (damaged > 1)} of the journal '{self.path}' cannot be read; the other steps are "
                "kept: check the objects."
            )
        return complete

    def _header_for(self, lines: bytes) -> Header:
        """Return the header with the schema that some lines need."""
        needs_schema_2 = any(member in lines for member in _SCHEMA_2_MEMBERS)
        return dataclasses.replace(self.header, schema=2) if needs_schema_2 else self.header

    def _rename_image(self, name: str) -> None:
        """Write the current name of the image into the header, so that no file holds the earlier name."""
        renamed = dataclasses.replace(self.header, image=name)
        try:
            if self.is_replaceable:
                self._change_header(renamed)
        except StorageError as error:
            logger.warning("The name of the image in %s could not be changed: %s", self.path, error)
        self.header = renamed

    def _change_header(self, header: Header) -> None:
        """Write the file again with another header, unless it is the same.

        Raises:
            StorageError: If it cannot be written.
        """
        if header == self.header:
            return
        if not self.is_replaceable:
            raise StorageError(
                f"The journal '{self.path}' has several names (hard links) and an older format, so the last step was "
                "not applied; copy the file to a name of its own."
            )
        self._file.stream.seek(0)
        content = self._file.stream.readall()  # type: ignore[attr-defined]  # it is not buffered
        _, start, _ = next(split(content))
        self.rewrite(seal({"seq": 0, **header.to_json()}) + content[start:], self._last)
        self.header = header

    def _find_again(self) -> None:
        """Check that the file still has its name and length; if it was deleted or moved, write it again.

        Raises:
            StorageError: If it was changed by another program, or cannot be written again.
        """
        place = self._file.place()
        size = os.fstat(self._file.stream.fileno()).st_size
        if size != self._end:
            raise StorageError(
                f"The journal '{self.path}' was changed by another program, so the last step was not applied; close "
                "the image, check the file, and open the image again."
            )
        if place == "same":
            return
        if place == "unmounted":
            raise StorageError(
                f"The disk of the journal '{self.path}' is missing, so the last step was not applied; connect it, then "
                "try again."
            )
        try:
            self._file.stream.seek(0)
            content = self._file.stream.readall()  # type: ignore[attr-defined]  # it is not buffered
            target = self._write_again(content)
        except OSError as error:
            _refuse(
                f"The journal '{self.path}' was deleted or moved, and the last step was not applied", error
            )
        if place == "gone":
            self.notice(f"The journal '{target}' was deleted or moved; it was written again with all steps.")
        else:
            self.notice(
                f"Another file has taken the place of the journal '{self.path}'; all steps were written to '{target}'."
            )
        self.path = target

    def _write_again(self, content: bytes) -> Path:
        target = Path(os.path.realpath(self.path))
        while True:
            try:
                stream = create(target, content)
            except FileExistsError:
                names = [path.stem for path in target.parent.iterdir()]
                target = target.with_name(free_name(self.path.stem, names) + target.suffix)
                continue
            self._file.switch(stream, target)
            return target

    def _truncate_or_warn(self) -> None:
        try:
            self._truncate()
        except (OSError, ValueError) as error:
            logger.warning("The journal %s could not be truncated: %s", self.path, error)
            self._torn = True

    def _truncate(self) -> None:
        self._file.stream.truncate(self._end)
        os.fsync(self._file.stream.fileno())
        self._torn = False


def _refuse(what: str, error: Exception) -> NoReturn:
    reason = getattr(error, "strerror", None) or str(error)
    raise StorageError(
        f"{what} ({reason}), but all earlier steps are saved; free some space or check the disk, then try again."
    ) from error
