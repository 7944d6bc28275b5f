"""Class lists of folders that have none, or have them in `classes.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ....arrays import ClassInfo
from ....errors import DatasetError
from ....formats.dataset.manifest import parse_classes
from ....formats.labels import default_color
from ....heads.base import check_classes
from ..dataset import IGNORED, Sample, read_label_map
from .own import REST


def find_classes(
    folder: Path, samples: Sequence[Sample]
) -> tuple[tuple[ClassInfo, ...], dict[int, int], frozenset[int]]:
    """Return classes, value -> class id, and ignored values, from `classes.json` or from the label maps."""
    path = next(
        (p for p in (folder / "classes.json", folder / "labels" / "classes.json") if p.is_file()), None
    )
    if path is not None:
        named = _read_classes(path)
    else:
        found = sorted({int(v) for sample in samples for v in np.unique(read_label_map(sample.labels))})
        if found and (found[0] < 0 or found[-1] > IGNORED):
            raise DatasetError(
                f"The label maps of '{folder}' hold values from {found[0]} to {found[-1]}; class numbers "
                "are 0 to 255: are these instance ids?"
            )
        # Black and white masks: 255 is the object, not what is left out.
        inside = [v for v in found if 0 < v < IGNORED] or [v for v in found if v == IGNORED]
        named = [ClassInfo(v, f"class {v}", default_color(v)) for v in inside]
    if all(c.id for c in named):
        named = [REST, *named]
    classes = check_classes(named)
    ids = {c.id for c in classes}
    return classes, {i: i for i in ids}, frozenset({IGNORED} - ids)


def _read_classes(path: Path) -> list[ClassInfo]:
    """Read a list of classes, {"classes": [...]}, or the `classes.json` of an export, which has one list an image."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and "images" in content:
            entries = [entry for image in content["images"].values() for entry in image["classes"]]
        else:
            entries = content["classes"] if isinstance(content, dict) else content
        named = {(info.id, info.name): info for info in reversed(parse_classes(entries))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"'{path}' cannot be read ({error}); it must list id, name and color (red, green, blue) of each class."
        ) from error
    return sorted(named.values(), key=lambda c: c.id)
