"""The run of the Export dock as a `sampath` command and as Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..common.script_view import Script, command_line

NOTE = "Close the image in napari before you run it: only one program can open its annotations at a time."


def export_script(file: Path, journal: Path, name: str, folder: Path, formats: Sequence[str]) -> Script:
    """Describe an export.

    Args:
        file: The image.
        journal: The journal with its annotations.
        name: Name of the image in the files.
        folder: The folder to write to.
        formats: Names of the formats.
    """
    flags = {"--output": folder, "--name": name, "--formats": ",".join(formats)}
    python = f"""from pathlib import Path

from napari_sampath.images import read
from napari_sampath.session import Session

image = read({str(file)!r})
session = Session(image.pixels, {name!r}, journal=Path({str(journal)!r}))
files = session.files.export({str(folder)!r}, {tuple(formats)!r})
session.close()
"""
    return Script(command_line("export", (journal,), flags), python, NOTE)
