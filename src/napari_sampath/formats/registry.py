"""The registered formats: every module of `outlines/` and `maps/` that defines `FORMATS`."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from ..errors import ImageError
from ..registry import lookup
from . import maps, outlines
from .format import Format
from .source import Source


@functools.cache
def formats() -> Mapping[str, Format]:
    """Return all formats by name, outlines first; fallbacks come last."""
    found: list[Format] = []
    for package in (outlines, maps):
        for module in pkgutil.iter_modules(package.__path__):
            found += getattr(importlib.import_module(f"{package.__name__}.{module.name}"), "FORMATS", ())
    found.sort(key=lambda entry: entry.is_fallback)
    return MappingProxyType({entry.name: entry for entry in found})


def readable() -> tuple[Format, ...]:
    """Return the formats that can be imported."""
    return tuple(entry for entry in formats().values() if entry.read is not None)


def writable() -> tuple[Format, ...]:
    """Return the formats that can be exported."""
    return tuple(entry for entry in formats().values() if entry.write is not None)


def find_format(source: Source, name: str | None = None) -> Format:
    """Find the format of a file or folder by its content.

    Args:
        source: The file or folder.
        name: Name of the format, to skip the recognition.

    Raises:
        UnknownNameError: If there is no readable format of that name.
        ImageError: If the content has none of the formats; the error names those that were tried.
    """
    choices = {entry.name: entry for entry in readable()}
    if name is not None:
        return lookup("readable format", choices, name)
    for entry in choices.values():
        if entry.recognises is not None and entry.recognises(source):
            return entry
    if not source.is_folder and not source.head:
        raise ImageError(f"'{source.path}' is empty (0 bytes); export or download it again.")
    if source.head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ImageError(f"'{source.path}' is text in UTF-16; save it as UTF-8.")
    kind = "folder" if source.is_folder else "file"
    missing = " and no classes.json of an export" if source.is_folder else ""
    suffix = "/" if source.is_folder else source.path.suffix.lower()
    fitting = [entry for entry in choices.values() if suffix in entry.suffixes] or list(choices.values())
    tried = ", ".join(dict.fromkeys(entry.label for entry in fitting))
    raise ImageError(
        f"The {kind} '{source.path}' has none of the formats that can be imported (tried: {tried}){missing}; export it "
        "in one of them."
    )
