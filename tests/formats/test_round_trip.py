"""One body for all formats: what `Format.keeps` promises comes back from a written file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_sampath.arrays import ClassInfo
from napari_sampath.formats import Labels, Objects, ReadOptions, Snapshot, export_labels, import_labels
from napari_sampath.formats.registry import formats, readable, writable

DETAILS = {3: {"score": 0.75, "source": "box", "reviewed": True, "created": "2026-01-02T03:04:05.678+00:00"}}
NAMES = ("Tumour: ü", "stroma", "fat cells", "necrosis/debris", "Übergang")


@st.composite
def annotated(draw: st.DrawFn) -> tuple[Any, Any, tuple[ClassInfo, ...]]:
    hw = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    ids = draw(st.lists(st.integers(1, 255), min_size=1, max_size=4, unique=True))
    names = draw(st.permutations(NAMES))
    classes = tuple(
        ClassInfo(number, name, (number, 0, 255)) for number, name in zip(ids, names, strict=False)
    )
    class_map = draw(hnp.arrays(np.uint8, hw, elements=st.sampled_from([0, *ids])))
    numbers = draw(hnp.arrays(np.int32, hw, elements=st.sampled_from([0, 1, 2, 3, 60_000])))
    return class_map, np.where(class_map > 0, numbers, 0).astype(np.int32), classes


def objects_of(labels: Labels) -> set[tuple[int, int, tuple[int, ...], bytes]]:
    """Return the place and pixels of all objects."""
    return {
        (obj.mask.row, obj.mask.col, obj.mask.bitmap.shape, obj.mask.bitmap.tobytes())
        for obj in Objects.of(labels).items
    }


def named(labels: Labels) -> Any:
    """Return the class name of each pixel."""
    names = np.array([""] * 256, dtype=object)
    for info in labels.classes:
        names[info.id] = info.name
    return names[labels.class_map]


@pytest.mark.parametrize("name", [entry.name for entry in writable()])
@settings(max_examples=25, deadline=None)
@given(maps=annotated())
def test_a_written_file_gives_back_what_the_format_keeps(
    tmp_path_factory: pytest.TempPathFactory, maps: Any, name: str
) -> None:
    class_map, instance_map, classes = maps
    assume(class_map.any())
    keeps = formats()[name].keeps
    folder = tmp_path_factory.mktemp("export")
    pixels = np.zeros((*class_map.shape, 3), np.uint8)
    before = Labels(class_map, instance_map, classes, DETAILS)
    snapshot = Snapshot(
        "slide 7", pixels, class_map, instance_map, classes=classes, details=DETAILS, file_name="slide 7.png"
    )
    files = export_labels(folder, snapshot, (name,))
    first = next(file for file in files if "images" not in file.parent.name)
    hw = None if "size" in keeps else class_map.shape
    after = import_labels(first, "slide 7.png", options=ReadOptions(hw=hw))
    assert after.class_map.shape == class_map.shape
    assert after.class_map.dtype == np.uint8
    if "pixels" in keeps:
        np.testing.assert_array_equal(after.class_map > 0, class_map > 0)
    if {"pixels", "class names"} <= keeps:
        assert (named(after) == named(before)).all()
    used = {int(value) for value in np.unique(class_map) if value}
    if "class numbers" in keeps:
        assert {(c.id, c.name) for c in classes if c.id in used} <= {(c.id, c.name) for c in after.classes}
    if "colours" in keeps:
        assert {(c.name, c.color) for c in classes if c.id in used} <= {
            (c.name, c.color) for c in after.classes
        }
    if "objects" in keeps:
        assert objects_of(after) == objects_of(before)
    if "object numbers" in keeps:
        np.testing.assert_array_equal(after.instance_map, instance_map)
    if "details" in keeps and (instance_map == 3).any():
        found = [details for details in after.details.values() if details]
        assert DETAILS[3] in found
        assert "object numbers" not in keeps or after.details[3] == DETAILS[3]


def test_every_format_says_what_it_is() -> None:
    for entry in formats().values():
        assert entry.label
        assert entry.suffixes, entry.name
        assert entry.summary.endswith("."), entry.name
        assert entry.lost.endswith("."), entry.name
        assert (entry.read is None) == (entry.recognises is None), entry.name
    assert len({entry.name for entry in readable()} | {"export folder"}) >= 12
    assert len(writable()) >= 11


def test_the_first_format_that_recognises_a_file_is_its_own(tmp_path: Path) -> None:
    from napari_sampath.formats.registry import find_format
    from napari_sampath.formats.source import Source

    class_map = np.zeros((20, 30), np.uint8)
    class_map[2:8, 3:9], class_map[12:18, 3:9] = 1, 2
    classes = (ClassInfo(1, "tumour", (1, 2, 3)), ClassInfo(2, "stroma", (4, 5, 6)))
    image = np.zeros((20, 30, 3), np.uint8)
    for entry in writable():
        folder = tmp_path / entry.name
        files = export_labels(
            folder, Snapshot("a", image, class_map, class_map, classes=classes), (entry.name,)
        )
        file = next(file for file in files if "images" not in file.parent.name)
        matches = [
            other.name
            for other in readable()
            if not other.is_fallback and other.recognises is not None and other.recognises(Source(file))
        ]
        assert len(matches) <= 1, f"{entry.name}: {matches}"
        assert find_format(Source(file)).name == (entry.reader if entry.read is None else entry.name)
