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
from collections.abc import Iterator, Mapping, Sequence
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


def item_from_json(fields: Mapping[str, Any], hw: tuple[int, int]) -> Item:
    """Convert the output of `item_to_json`; `hw` is the size (H, W) of the image.

    Raises:
        ValueError: If a field is missing or a value is not allowed.
    """
    return from_json(fields), mask_from_json(fields.get("pixels"), hw)


def write_objects(journal: Path, items: Sequence[Item]) -> ObjectFile:
    """Write objects into a new file beside a journal, and sync it to the disk.

    Raises:
        StorageError: If it cannot be written.
    """
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb", compresslevel=_LEVEL, mtime=0) as stream:
        for item in releasing_gil(items):
            text = json.dumps(item_to_json(item), allow_nan=False, separators=(",", ":"))
            stream.write(text.encode() + b"\n")
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path = objects_file(journal, digest)
    write_atomically(path, lambda stream: stream.write(content))
    return ObjectFile(path.name, digest, len(items), max(obj.id for obj, _ in items) + 1)


def read_objects(folder: Path, described: ObjectFile, hw: tuple[int, int]) -> tuple[Item, ...]:
    """Read the objects of a file in the folder of a journal; `hw` is the size (H, W) of the image.

    Raises:
        StorageError: If it is missing or damaged.
    """
    path = folder / described.file
    try:
        with open_regular(path) as stream:
            content = stream.read()
        if hashlib.sha256(content).hexdigest() != described.sha256:
            raise ValueError("it is damaged")
        return tuple(item_from_json(fields, hw) for fields in releasing_gil(_lines(content)))
    except (OSError, ValueError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(
            f"{described.count:,} objects of one step are missing, because '{path}' cannot be read ({reason}), but all "
            "other steps are kept; close the image, put a copy of the file in its place, and open the image again."
        ) from error


def _lines(content: bytes) -> Iterator[dict[str, Any]]:
    with gzip.open(io.BytesIO(content)) as stream:
        while line := stream.readline(_MAX_LINE_BYTES):
            fields = parse_json(line, _MAX_LINE_BYTES)
            if not isinstance(fields, dict):
                raise ValueError("a line is not an object")
            yield fields
