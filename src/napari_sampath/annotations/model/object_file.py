"""File beside a journal with the objects of one step, which keeps the line of the step short.

Format: gzip; one JSON object per line, as in the list "annotations" of an operation "add". The line of the step states
the name and the digest of the file, so a file is never changed.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from ...arrays import LocalMask
from ...errors import StorageError
from ...files import from_json as fields_from_json
from ...files import open_regular, parse_json, write_atomically
from ...files.journal_files import is_objects_file, objects_file
from ...files.json_reader import Range
from ...formats.run_lengths import mask_from_json, mask_to_json
from ...jobs import releasing_gil
from .annotated_object import MAX_ID, AnnotatedObject, from_json, to_json

Item = tuple[AnnotatedObject, LocalMask]

_LEVEL = 1
"""Compression level of gzip; the fastest."""
_MAX_LINE_BYTES = 2**26
_PART_BYTES = 2**15
"""Size of the lines that are parsed together: few containers at a time for the garbage collector."""


@dataclass(frozen=True, slots=True)
class ObjectFile:
    """A file of objects, as described by the line of its step."""

    file: str
    """Name; the file is in the folder of the journal."""
    sha256: str
    count: Annotated[int, Range(0, MAX_ID)]
    """Number of objects."""
    next_id: Annotated[int, Range(1, MAX_ID + 1)]
    """Lowest id that is higher than those of the objects, so that none is used again while the file is missing."""

    def to_json(self) -> dict[str, Any]:
        """Convert the description to JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> ObjectFile:
        """Convert the output of `to_json`.

        Raises:
            ValueError: If a field is missing or a value is not allowed.
        """
        stored: ObjectFile = fields_from_json(cls, fields)
        if not is_objects_file(stored.file):
            raise ValueError(f"'{stored.file[:80]}' is not the name of a file of objects")
        return stored


def item_to_json(item: Item) -> dict[str, Any]:
    """Convert an object and its mask to an entry of an operation "add"."""
    obj, mask = item
    return {**to_json(obj), "pixels": mask_to_json(mask)}


def items_from_json(entries: Sequence[Any], hw: tuple[int, int]) -> Iterator[Item]:
    """Convert the output of `item_to_json` for several objects; as `item_from_json`."""
    for fields in releasing_gil(entries):
        if not isinstance(fields, Mapping):
            raise ValueError("an object is missing")
        yield item_from_json(fields, hw)


def item_from_json(fields: Mapping[str, Any], hw: tuple[int, int]) -> Item:
    """Convert the output of `item_to_json`; `hw` is the size (H, W) of the image.

    Raises:
        ValueError: If a field is missing or a value is not allowed.
    """
    return from_json(fields), mask_from_json(fields.get("pixels"), hw)


class StoredItems(Sequence[Item]):
    """The objects of a file, read again at each iteration.

    100,000 objects and masks at the same time would take Python's garbage collector seconds, in which the window waits.

    Args:
        path: The file.
        described: Its description.
        hw: Size (H, W) of the image.
    """

    def __init__(self, path: Path, described: ObjectFile, hw: tuple[int, int]) -> None:
        self._path = path
        self._described = described
        self._hw = hw

    def __len__(self) -> int:
        return self._described.count

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index] if index else next(iter(self))

    def __iter__(self) -> Iterator[Item]:
        """Yield the objects.

        Raises:
            StorageError: If the file is missing or damaged.
        """
        described, count = self._described, 0
        try:
            with open_regular(self._path) as stream:
                content = stream.read()
            if hashlib.sha256(content).hexdigest() != described.sha256:
                raise ValueError("it is damaged")
            for entries in _parts(content):
                count += len(entries)
                yield from items_from_json(entries, self._hw)
            if count != described.count:
                raise ValueError(f"it has {count:,} objects")
        except (OSError, ValueError, EOFError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise StorageError(
                f"{described.count:,} objects of one step are missing, because '{self._path}' cannot be read "
                f"({reason}), but all other steps are kept; close the image, put a copy of the file in its place, and "
                "open the image again."
            ) from error


def write_objects(
    journal: Path, items: Iterable[Item], hw: tuple[int, int]
) -> tuple[ObjectFile, StoredItems]:
    """Write objects into a new file beside a journal, and sync it to the disk; `hw` is the size (H, W) of the image.

    Raises:
        StorageError: If it cannot be written.
    """
    buffer, count, last = io.BytesIO(), 0, 0
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=_LEVEL, mtime=0) as stream:
        for item in releasing_gil(items):
            count, last = count + 1, max(last, item[0].id)
            text = json.dumps(item_to_json(item), allow_nan=False, separators=(",", ":"))
            stream.write(text.encode() + b"\n")
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path = objects_file(journal, digest)
    write_atomically(path, lambda stream: stream.write(content))
    described = ObjectFile(path.name, digest, count, last + 1)
    return described, StoredItems(path, described, hw)


def read_objects(folder: Path, described: ObjectFile, hw: tuple[int, int]) -> StoredItems:
    """Check the objects of a file in the folder of a journal, and return them; `hw` is the size (H, W) of the image.

    Raises:
        StorageError: If it is missing or damaged.
    """
    items = StoredItems(folder / described.file, described, hw)
    for _ in items:
        pass
    return items


def _parts(content: bytes) -> Iterator[list[Any]]:
    """Yield the objects of some lines; checking the text of each line would take most of the time."""
    with gzip.open(io.BytesIO(content)) as stream:
        while lines := stream.readlines(_PART_BYTES):
            if max(map(len, lines)) > _MAX_LINE_BYTES:
                raise ValueError("a line is too long")
            text = b"[" + b",".join(lines) + b"]"
            yield parse_json(text, len(text))
