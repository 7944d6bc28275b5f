"""File names of images: conversion of the name of an image to the stem of a file name."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from ..errors import SampathError

MAX_STEM_BYTES = 200
"""Longest stem in UTF-8; file systems allow 255 bytes, and suffixes such as "_objects.polygons.coco.json" follow."""

MAX_NAME = 255
"""Longest name of an image, a class, a project or a reader, in characters."""

_REFUSED = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]|[. ]+$')
"""Characters that a file system refuses: those of Windows, control characters, undecodable bytes, a final dot."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\.|$)", re.IGNORECASE)
"""Reserved names of devices on Windows, with any suffix."""
_EARLIER_ALLOWED = " -_.~!#$&'()+,;=@[]^`{}"


def file_stem(name: str) -> str:
    """Return the stem of the files of an image: its name, percent-encoded where file systems require it.

    Percent signs, umlauts and all other characters stay. Two names may have the same stem, see `free_name`.
    """
    stem = _REFUSED.sub(lambda match: _encode(match[0]), name)
    if match := _RESERVED.match(stem):
        last = match.end(1) - 1
        stem = stem[:last] + _encode(stem[last]) + stem[last + 1 :]
    content = stem.encode()
    if len(content) > MAX_STEM_BYTES:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        start = content[: MAX_STEM_BYTES - len(digest) - 1].decode(errors="ignore")
        stem = f"{start.rstrip()}~{digest}"
    return stem or "_"


def earlier_file_stem(name: str) -> str:
    """Return the stem that earlier versions used, in which all but letters, digits and some punctuation is encoded."""
    return "".join(
        letter
        if letter.isalnum() or letter in _EARLIER_ALLOWED
        else quote(letter, "", errors="surrogatepass")
        for letter in name
    )


def is_stem_of(stem: str, name: str) -> bool:
    """Return True if files with this stem may belong to the image, also if an earlier version wrote them."""
    return name_key(stem) in {name_key(text) for text in (name, file_stem(name), earlier_file_stem(name))}


def name_key(name: str) -> str:
    """Return a text that is equal for names that a file system may not distinguish.

    Such names differ in letter case, or in the encoding of accents: macOS stores "é" as "e" and an accent.
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def find_file(folder: Path, name: str) -> str:
    """Find a file whose name may have changed when it was copied; return `name` if there is none.

    macOS decomposes accents, and some disks change letter case.
    """
    path = folder / name
    if os.path.lexists(path) or not os.path.isdir(path.parent):
        return name
    key = name_key(path.name)
    match = next((other for other in os.listdir(path.parent) if name_key(other) == key), path.name)
    return Path(name).with_name(match).as_posix()


def free_name(name: str, names: Iterable[str]) -> str:
    """Make a name unique by appending a number if it is taken, such as "tile (2)"."""
    taken = {name_key(other) for other in names}
    candidates = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
    return next(candidate for candidate in candidates if name_key(candidate) not in taken)


def check_length(name: str, noun: str, error: type[SampathError]) -> None:
    """Raise an error if a name has more than `MAX_NAME` characters.

    Args:
        name: The name.
        noun: What it names, such as "class".
        error: Class of the error.
    """
    if len(name) > MAX_NAME:
        raise error(
            f"The name of the {noun}, '{name[:30]}...', has {len(name):,} characters; choose one of at most {MAX_NAME}."
        )


def _encode(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))
