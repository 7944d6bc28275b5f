"""The files of objects that a journal names: copied with it, and deleted when no journal needs them.

They are in the folder of the journal, and never changed; see `annotations.model.object_file`.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from .atomic import write_atomically
from .opening import open_regular

JOURNAL_SUFFIX = ".jsonl"
OBJECTS_SUFFIX = ".objects.gz"
_NAMED = re.compile(rb'"file":"([\w-]+' + re.escape(OBJECTS_SUFFIX).encode() + rb')"', re.ASCII)
"""The name of a file in a line; quotes in texts are escaped."""
_PREFIX_CHARS = 32


def objects_file(journal: Path, digest: str) -> Path:
    """Return the path of a file of objects beside a journal, which depends on the digest of its content."""
    return journal.with_name(
        f"{re.sub(r'[^A-Za-z0-9-]', '_', journal.stem[:_PREFIX_CHARS])}-{digest[:32]}{OBJECTS_SUFFIX}"
    )


def is_objects_file(name: str) -> bool:
    """Return whether a name in a journal may be that of a file of objects."""
    return _NAMED.fullmatch(f'"file":"{name}"'.encode("utf-8", "replace")) is not None


def named_files(journal: Path) -> list[Path]:
    """Return the files of objects that the lines of a journal name; some may be missing."""
    with open_regular(journal) as stream:
        return _named(journal.parent, stream.read())


def copy_journal(source: Path, target: Path) -> None:
    """Copy a journal, which may be open in a session, with its files of objects; an existing target is replaced.

    Raises:
        OSError: If it cannot be read.
        StorageError: If a file cannot be written; the target is unchanged.
    """
    with open_regular(source) as stream:
        content = stream.read()
    for path in _named(source.parent, content):
        copy = target.with_name(path.name)
        if path.is_file() and not copy.exists():
            with open_regular(path) as stream:
                write_atomically(copy, partial(shutil.copyfileobj, stream))
    write_atomically(target, lambda stream: stream.write(content))


def remove_unnamed(files: Iterable[Path]) -> None:
    """Delete files of objects that no journal in their folder names."""
    unnamed = set(files)
    with contextlib.suppress(OSError):
        for folder in {path.parent for path in unnamed}:
            for journal in folder.glob(f"*{JOURNAL_SUFFIX}"):
                unnamed -= set(named_files(journal))
        for path in unnamed:
            path.unlink(missing_ok=True)


def _named(folder: Path, content: bytes) -> list[Path]:
    return [folder / name.decode() for name in dict.fromkeys(_NAMED.findall(content))]
