"""Class lists of dataset folders: read from `classes.json` or collected from the label maps."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....arrays import ClassInfo
from ....errors import DatasetError
from ....formats.labels import default_color
from ....heads.base import check_classes
from ..dataset import IGNORED, Sample, read_label_map

BACKGROUND = ClassInfo(0, "background", (0, 0, 0))
_OLD_BACKGROUND_NAME = "rest"
"""Name of class 0 in files of earlier versions."""


def with_background(classes: Sequence[ClassInfo]) -> tuple[ClassInfo, ...]:
    """Sort classes by id, and add the background (id 0) if it is missing or rename it if it is called "rest"."""
    classes = sorted(classes, key=lambda info: info.id)
    if not classes or classes[0].id:
        classes = [BACKGROUND, *classes]
    elif classes[0].name == _OLD_BACKGROUND_NAME and all(
        info.name != BACKGROUND.name for info in classes[1:]
    ):
        classes[0] = dataclasses.replace(classes[0], name=BACKGROUND.name)
    return check_classes(classes)


def find_classes(
    folder: Path, samples: Sequence[Sample]
) -> tuple[tuple[ClassInfo, ...], dict[int, int], frozenset[int]]:
    """Return the classes, a mapping from label value to class id, and the ignored label values.

    They are read from `classes.json` or, if there is none, collected from the label maps.
    """
    candidates = (folder / "classes.json", folder / "labels" / "classes.json")
    path = next((file for file in candidates if file.is_file()), None)
    if path is not None:
        listed = _read_classes(path)
    else:
        values = sorted({int(v) for sample in samples for v in np.unique(read_label_map(sample.labels))})
        if values and (values[0] < 0 or values[-1] > IGNORED):
            raise DatasetError(
                f"The label maps of '{folder}' contain values from {values[0]} to {values[-1]}, but class "
                "numbers must be from 0 to 255; save classes instead of object numbers."
            )
        # In black-and-white masks, 255 marks objects, not ignored pixels.
        ids = [v for v in values if 0 < v < IGNORED] or [v for v in values if v == IGNORED]
        listed = [ClassInfo(v, f"class {v}", default_color(v)) for v in ids]
    classes = with_background(listed)
    ids = [info.id for info in classes]
    return classes, {i: i for i in ids}, frozenset({IGNORED} - set(ids))


def _read_classes(path: Path) -> list[ClassInfo]:
    """Read a list of classes, {"classes": [...]}, or the `classes.json` of an export, with one list per image."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "images" in content:
            entries = [entry for image in content["images"].values() for entry in image["classes"]]
        else:
            entries = content["classes"] if isinstance(content, dict) else content
        classes = [ClassInfo.from_json(entry) for entry in reversed(entries)]
        unique = {(info.id, info.name): info for info in classes}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}); it must list the id, name and color (red, green, blue) of each class."
        ) from error
    return list(unique.values())
