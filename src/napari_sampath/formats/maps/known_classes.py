"""Classes that a `classes.json` or `dataset.json` beside a label map lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...arrays import ClassInfo
from ...files import JsonError, convert, read_json
from ..class_numbers import FileClass, agree

_FILES = ("classes.json", "../classes.json", "../dataset.json")


def known_classes(path: Path) -> tuple[list[FileClass], str]:
    """Find the classes of a label map in the files beside it.

    Args:
        path: The label map.

    Returns:
        The classes, and the name of the file that lists them; empty if there is none.
    """
    for name in _FILES:
        file = path.parent / name
        try:
            classes = class_list(read_json(file))
        except (OSError, JsonError):
            continue
        if classes:
            return classes, Path(name).name
    return [], ""


def class_list(content: Any) -> list[FileClass]:
    """Return the classes of a list, of {"classes": [...]}, or of the `classes.json` of an export with several images.

    Raises:
        JsonError: If it has none of these layouts, or two names have one number, or one name has two.
    """
    if isinstance(content, dict) and isinstance(content.get("images"), dict):
        images = content["images"].values()
        lists = [image.get("classes") for image in images if isinstance(image, dict)]
    else:
        lists = [content.get("classes") if isinstance(content, dict) else content]
    table: tuple[ClassInfo, ...] = ()
    for listed in lists:
        classes = [info for info in convert(listed, list[ClassInfo]) if info.id]  # 0 is the background.
        numbered = agree(table, classes)
        if numbered.notes:  # The values of a map do not show which of the two names is meant.
            raise JsonError(numbered.notes[0])
        table = numbered.classes
    return [FileClass(info.name, info.id, info.color) for info in table]
