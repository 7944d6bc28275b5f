"""Checks of the directories of a TIFF file before tifffile parses them, which bound the time and the memory."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ..errors import ImageError

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

MAX_DIRECTORIES = 10_000
MAX_TAGS = 200_000
MAX_PARTS = 200_000
"""Largest number of strips or tiles in one directory; 16,384 tiles of 256 px hold the largest image."""
_MAX_TAGS_PER_DIRECTORY = 4096
_OFFSET_TAGS = (273, 324)
"""StripOffsets and TileOffsets."""
_SUB_DIRECTORIES = 330
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_LARGE_OME_NUMBER = re.compile(
    r"\b(?:Size[ZCT]|NumPlanes|PlaneCount|First[ZCT]|IFD|Start|Step|End|SamplesPerPixel)\s*=\s*[\"'][^\"']{7,}[\"']"
)


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes of the fields in one kind of TIFF."""

    order: str
    """"<" or ">"."""
    count: str
    """Type of the number of tags."""
    tag_bytes: int
    offset: str
    """Type of an offset."""

    @property
    def offset_bytes(self) -> int:
        return struct.calcsize(self.offset)


def check_structure(stream: BinaryIO, path: Path) -> None:
    """Follow the directories of a TIFF file, including one level of subdirectories.

    Raises:
        ImageError: If they form a loop, or are more than this package reads.
        ValueError: If a directory or the data of a tag lies outside the file.
        struct.error: If the header is truncated.
    """
    size = os.fstat(stream.fileno()).st_size
    tags = value_bytes = 0
    for number, (layout, entries) in enumerate(_directories(stream, size, path), start=1):
        tags += len(entries)
        value_bytes += sum(_check_tag(layout, entry, size, path) for entry in entries)
        if number > MAX_DIRECTORIES or tags > MAX_TAGS:
            raise ImageError(
                f"'{path}' holds more than {MAX_DIRECTORIES:,} images or {MAX_TAGS:,} tags; save a single image."
            )
        if value_bytes > size + 2**24:  # Several tags may share a value, but not all of them.
            raise ValueError("its tags state more data than the file holds")


def check_description(text: str) -> None:
    """Raise a `ValueError` if OME-XML states sizes for which tifffile would allocate huge lists."""
    if "<!ENTITY" in text or _LARGE_OME_NUMBER.search(text):
        raise ValueError("its OME-XML states impossible sizes")


def _directories(stream: BinaryIO, size: int, path: Path) -> Iterator[tuple[_Layout, list[bytes]]]:
    """Yield the tags of each directory as bytes."""
    stream.seek(0)
    header = stream.read(16)
    order = "<" if header[:2] == b"II" else ">"
    if header[2:4] in (b"+\0", b"\0+"):
        layout = _Layout(order, "Q", 20, "Q")
        (offset,) = struct.unpack(f"{order}Q", header[8:16])
    else:
        layout = _Layout(order, "H", 12, "I")
        (offset,) = struct.unpack(f"{order}I", header[4:8])
    visited: set[int] = set()
    chain: set[int] = set()
    pending: list[int] = []
    while offset or pending:
        if not offset:
            offset, chain = pending.pop(), set()
        if offset in chain:
            raise ImageError(f"'{path}' is damaged (its list of images is a loop); save the file again.")
        if offset in visited:  # The levels of a pyramid may be listed and also linked to each other.
            offset = 0
            continue
        visited.add(offset)
        chain.add(offset)
        entries, following = _directory(stream, offset, size, layout)
        yield layout, entries
        pending += [sub for sub in _sub_directories(stream, layout, entries) if sub not in visited]
        offset = following


def _directory(stream: BinaryIO, offset: int, size: int, layout: _Layout) -> tuple[list[bytes], int]:
    """Read the tags of a directory, and the offset of the next one."""
    count_bytes = struct.calcsize(layout.count)
    if offset + count_bytes > size:
        raise ValueError(f"an image directory lies at byte {offset:,} of {size:,}")
    stream.seek(offset)
    (count,) = struct.unpack(layout.order + layout.count, stream.read(count_bytes))
    if not 0 < count <= _MAX_TAGS_PER_DIRECTORY:
        raise ValueError(f"an image directory has {count:,} tags")
    content = stream.read(count * layout.tag_bytes)
    if len(content) < count * layout.tag_bytes:
        raise ValueError("an image directory is incomplete")
    rest = stream.read(layout.offset_bytes)
    following = 0
    if len(rest) == layout.offset_bytes:  # The last offset is missing in files of some programs.
        (following,) = struct.unpack(layout.order + layout.offset, rest)
    if following >= size:  # tifffile ignores such an offset as well.
        following = 0
    return [
        content[start : start + layout.tag_bytes] for start in range(0, len(content), layout.tag_bytes)
    ], following


def _tag(layout: _Layout, entry: bytes) -> tuple[int, int, int, bytes]:
    """Return the number, the type and the count of a tag, and its value or the value's offset."""
    code, kind = struct.unpack(f"{layout.order}HH", entry[:4])
    (count,) = struct.unpack(layout.order + layout.offset, entry[4 : 4 + layout.offset_bytes])
    return code, kind, count, entry[-layout.offset_bytes :]


def _check_tag(layout: _Layout, entry: bytes, size: int, path: Path) -> int:
    """Check where the value of a tag lies; return its size in bytes."""
    code, kind, count, rest = _tag(layout, entry)
    value_bytes = count * _TYPE_BYTES.get(kind, 1)
    if code in _OFFSET_TAGS and count > MAX_PARTS:
        raise ImageError(
            f"'{path}' is stored in {count:,} parts, more than {MAX_PARTS:,}; save it with larger tiles."
        )
    if value_bytes > layout.offset_bytes:
        (start,) = struct.unpack(layout.order + layout.offset, rest)
        if start + value_bytes > size:
            raise ValueError(f"the value of its tag {code} lies outside the file")
    return value_bytes


def _sub_directories(stream: BinaryIO, layout: _Layout, entries: list[bytes]) -> list[int]:
    """List the offsets of subdirectories."""
    offsets: list[int] = []
    for entry in entries:
        code, kind, count, rest = _tag(layout, entry)
        letter = {4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if code != _SUB_DIRECTORIES or letter is None:
            continue
        count = min(count, MAX_DIRECTORIES)
        value_bytes = count * struct.calcsize(letter)
        if value_bytes > layout.offset_bytes:
            stream.seek(*struct.unpack(layout.order + layout.offset, rest))
            rest = stream.read(value_bytes)
        offsets += struct.unpack(f"{layout.order}{count}{letter}", rest[:value_bytes])
    return [offset for offset in offsets if offset >= 8]
