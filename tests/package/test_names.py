from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sampath.annotations import ClassList
from napari_sampath.arrays import ClassInfo
from napari_sampath.config import load_config
from napari_sampath.errors import SampathError
from napari_sampath.files.names import earlier_file_stem, file_stem, free_name, is_stem_of, name_key
from napari_sampath.formats import DatasetFolder, Snapshot
from napari_sampath.session import Project, Session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    "name",
    [
        "Ki67 50%",
        "Größe 2×3",
        "O'Brien",
        "a&b=c;d",
        "x.y.z",
        "日本語",
        "50%25",
        "#1 [a] {b} ~",
        "%",
        "-a",
        ".a",
    ],
)
def test_names_that_a_file_system_allows_stay(tmp_path: Path, name: str) -> None:
    assert file_stem(name) == name
    (tmp_path / f"{name}.txt").write_bytes(b"x")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("a:b*?", "a%3Ab%2A%3F"),
        ("tile.", "tile%2E"),
        ("tile ", "tile%20"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("CON", "CO%4E"),
        ("nul.tile", "nu%6C.tile"),
        ("com1", "com%31"),
        ("console", "console"),
        ("a\nb\x7f", "a%0Ab%7F"),
        ("a\udcffb", "a%ED%B3%BFb"),
        ("", "_"),
    ],
)
def test_other_characters_are_encoded(name: str, stem: str) -> None:
    assert file_stem(name) == stem


@given(st.text(max_size=400))
def test_every_name_gives_a_file_name(name: str) -> None:
    stem = file_stem(name)
    assert stem
    assert not set(stem) & set('/\\:*?"<>|\0\n')
    assert not stem.endswith((".", " "))
    assert len(stem.encode()) <= 200
    assert file_stem(stem) == stem


@given(st.text(max_size=60))
def test_earlier_stems_are_found(name: str) -> None:
    assert is_stem_of(earlier_file_stem(name), name)
    assert is_stem_of(file_stem(name), name)


def test_accents_and_capitals_do_not_matter_when_names_are_compared() -> None:
    decomposed = unicodedata.normalize("NFD", "Größe")
    assert decomposed != "Größe"
    assert name_key(decomposed) == name_key("GRÖßE") == name_key("Größe")
    assert file_stem(decomposed) == decomposed, "other programs match names byte by byte"
    assert is_stem_of("Größe", decomposed)
    assert free_name("größe", [decomposed]) == "größe (2)"


def test_long_names_stay_different() -> None:
    stems = {file_stem("n" * 300 + str(number)) for number in range(20)}
    assert len(stems) == 20


LONG = "a" * 100_000


def _imported(folder: Path) -> None:
    ring = [[1, 1], [9, 1], [9, 9], [1, 1]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"classification": {"name": LONG}},
    }
    (folder / "a.geojson").write_text(json.dumps(feature))
    Session(np.zeros((20, 30, 3), np.uint8), "tile").files.import_labels(folder / "a.geojson")


NAMED: dict[str, Callable[[Path], object]] = {
    "class": lambda _folder: ClassList().add(LONG),
    "renamed class": lambda _folder: ClassList([ClassInfo(1, "a", (1, 2, 3))]).rename(1, LONG),
    "class of a file": _imported,
    "class of a project": lambda folder: Project.create(folder).set_classes([ClassInfo(1, LONG, (1, 2, 3))]),
    "image of a dataset": lambda folder: DatasetFolder.create(folder, ()).save_image(
        Snapshot(LONG, np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8))
    ),
    "image of a project": lambda folder: Project.create(folder).add(
        "0" * 32, (9, 9), LONG, pixels=np.zeros((9, 9, 3), np.uint8)
    ),
    "project": lambda folder: Project.create(folder, LONG),
    "renamed project": lambda folder: Project.create(folder).rename(LONG),
    "reader": lambda _folder: load_config(reader=LONG),
}


@pytest.mark.parametrize("kind", NAMED)
def test_names_of_any_length_are_refused_in_one_sentence(kind: str, tmp_path: Path) -> None:
    with pytest.raises(SampathError, match=r"has 100,000 characters; choose one of at most 255\.$") as caught:
        NAMED[kind](tmp_path)
    assert len(str(caught.value)) < 200


def test_a_long_class_name_that_is_stored_already_is_read() -> None:
    classes = ClassList([ClassInfo(1, LONG, (1, 2, 3))])
    assert classes.add("new").id == 2
