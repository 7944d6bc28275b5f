"""Files that an export writes for one image."""

from __future__ import annotations

from collections.abc import Sequence

from .format import Export, Output
from .registry import writable


def outputs(export: Export, formats: Sequence[str]) -> list[Output]:
    """List the files of one image; nothing is written, and objects are traced when the first outline is written.

    Args:
        export: The annotations.
        formats: Names of formats that can be written.

    Raises:
        ImageError: If a format cannot store the annotations.
    """
    writers = {entry.name: entry.write for entry in writable()}
    files: dict[str, Output] = {}
    for name in formats:
        write = writers[name]
        if write is not None:
            # Formats may share a file, such as the details of objects.
            for file in write(export):
                files.setdefault(file.path, file)
    return list(files.values())
