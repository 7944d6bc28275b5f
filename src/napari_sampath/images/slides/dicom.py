"""Find the slide among DICOM files: which files belong to one series, and what each of them shows.

OpenSlide opens a slide by any file of its series, but it does not say which series a folder holds. Format of the
headers: DICOM PS3.5, section 7.1, and PS3.10, section 7.1; image types of slides: PS3.3, section C.8.12.4.1.1.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...errors import ImageError

_PREAMBLE_BYTES = 128
_MARK = b"DICM"
_SYNTAX, _IMAGE_TYPE, _SERIES = 0x0002_0010, 0x0008_0008, 0x0020_000E
_IMPLICIT = "1.2.840.10008.1.2"
"""Transfer syntax in which elements have no type."""
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
"""Types of values whose length has four bytes."""
_ITEM_GROUP, _ENDS = 0xFFFE, (0xFFFE_E00D, 0xFFFE_E0DD)
"""Group of the items of a sequence, and the marks of the end of an item and a sequence of undefined length."""
_UNDEFINED = 0xFFFF_FFFF
_SLIDE = "volume"
"""What a file with pixels of the slide shows; others show its label, an overview or a thumbnail."""
_MAX_BYTES = 1024
"""Longest value that is read."""
_NAMED = 4
"""Number of slides of a folder that an error names."""


@dataclass(frozen=True, slots=True)
class DicomFile:
    """What the header of a DICOM file says."""

    path: Path
    series: str
    """Unique identifier of the series, "" if unknown."""
    shows: str
    """"volume", "label", "overview", "thumbnail" or another word in lower case; "" if unknown."""


def is_dicom(path: Path) -> bool:
    """Return whether a file has the mark of a DICOM file."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == _MARK
    except OSError:
        return False


def dicom_slide(path: Path) -> Path:
    """Return the file by which a DICOM slide is opened: the largest one with pixels of the slide.

    Args:
        path: A folder with the files of one slide, or any of the files of a slide, which are in one folder.

    Raises:
        ImageError: If there is no slide, or the folder has several.
    """
    folder = path if path.is_dir() else path.parent
    files = [_read(file) for file in sorted(folder.iterdir()) if is_dicom(file)]
    if path != folder:
        series = next((file.series for file in files if file.path == path), "")
        files = [file for file in files if file.series == series]
    if not files:
        raise ImageError(
            f"'{path}' is a folder without a slide (no OME-Zarr image, no DICOM series); give a file."
        )
    slides = [file for file in files if file.shows == _SLIDE]
    if not slides:
        counts = Counter(file.shows or "unknown image" for file in files)
        content = ", ".join(f"{count} {shows}" for shows, count in sorted(counts.items()))
        raise ImageError(
            f"'{path}' holds no DICOM slide, only {content}; put the files with the pixels of the slide (VOLUME) into "
            "the same folder."
        )
    largest = {file.series: file.path for file in sorted(slides, key=_size)}
    if len(largest) > 1:
        names = ", ".join(f"'{file.name}'" for file in sorted(largest.values())[:_NAMED])
        more = " ..." if len(largest) > _NAMED else ""
        raise ImageError(
            f"'{path}' holds {len(largest)} DICOM slides ({names}{more}); give one of these files, or put each slide "
            "into a folder of its own."
        )
    return next(iter(largest.values()))


def _size(file: DicomFile) -> int:
    return file.path.stat().st_size


def _read(path: Path) -> DicomFile:
    """Read the header of a DICOM file up to the number of its series."""
    values: dict[int, str] = {}
    try:
        with path.open("rb") as stream:
            stream.seek(_PREAMBLE_BYTES + 4)
            values.update(_values(stream))
    except (OSError, struct.error):
        pass  # A damaged header counts as unknown.
    shows = values.get(_IMAGE_TYPE, "").split("\\")
    return DicomFile(path, values.get(_SERIES, ""), shows[2].strip().lower() if len(shows) > 2 else "")


def _values(stream: BinaryIO) -> Iterator[tuple[int, str]]:
    """Yield the tags and values of the elements that are needed, without those inside of sequences."""
    depth, has_types = 0, True
    while len(head := stream.read(8)) == 8:
        group, element = struct.unpack("<HH", head[:4])
        tag = group << 16 | element
        # The elements of group 2 always have types.
        if group == _ITEM_GROUP or not (has_types or group == 2):
            (length,) = struct.unpack("<I", head[4:])
        elif head[4:6] in _LONG:
            (length,) = struct.unpack("<I", stream.read(4))
        else:
            (length,) = struct.unpack("<H", head[6:])
        if tag in _ENDS:
            depth -= 1
        elif length == _UNDEFINED:
            depth += 1
        elif depth == 0 and tag in (_SYNTAX, _IMAGE_TYPE, _SERIES):
            value = stream.read(min(length, _MAX_BYTES)).decode("ascii", "replace").strip("\0 ")
            has_types = has_types and not (tag == _SYNTAX and value == _IMPLICIT)
            yield tag, value
        else:
            stream.seek(length, 1)
        if depth == 0 and tag >= _SERIES and group != _ITEM_GROUP:
            return
