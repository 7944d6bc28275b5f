"""Label maps and checks shared by the tests of formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import Snapshot, export_labels

CLASSES = (
    ClassInfo(1, "tumour", (230, 60, 60)),
    ClassInfo(2, "stroma", (60, 200, 90)),
    ClassInfo(200, "Lymphozyten – dicht", (0, 0, 255)),
)
RNG = np.random.default_rng(0)
CLASS_MAP = RNG.choice(np.array([0, 1, 2, 200], dtype=np.uint8), (50, 70))
INSTANCE_MAP = np.where(CLASS_MAP > 0, RNG.integers(1, 900, (50, 70)), 0).astype(np.int32)


def export(
    folder: Path, name: str = "slide 7", formats: Sequence[str] = ("png", "tiff"), **changes: Any
) -> list[Path]:
    maps: dict[str, Any] = {"class_map": CLASS_MAP, "instance_map": INSTANCE_MAP, "classes": CLASSES}
    return export_labels(folder, Snapshot(name, None, **{**maps, **changes}), formats)


def check_sentence(text: str) -> None:
    assert text.endswith(".")
    assert "\n" not in text
    assert "; " in text or ": " in text, "says what to do"
