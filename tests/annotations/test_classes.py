from __future__ import annotations

import colorsys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sampath.annotations import ClassList
from napari_sampath.annotations.model.classes import PALETTE, next_color
from napari_sampath.arrays import ClassInfo
from napari_sampath.errors import ClassListError, DuplicateNameError, SampathError, UnknownNameError

# Machado, Oliveira and Fernandes 2009, severity 1.0, on linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)


def linear(color: tuple[int, int, int]) -> np.ndarray:
    values = np.array(color) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of linear RGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.cbrt(np.clip(to_xyz @ rgb / [0.9505, 1.0, 1.089], 1e-6, None))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", [np.eye(3), DEUTERANOPIA, PROTANOPIA], ids=["normal", "deuteran", "protan"])
def test_palette_is_distinct_for_colour_blind_viewers(sight: np.ndarray) -> None:
    seen = [lab(np.clip(sight @ linear(color), 0, 1)) for color in PALETTE]
    distances = [np.linalg.norm(a - b) for i, a in enumerate(seen) for b in seen[:i]]
    # 2.3 is a just noticeable difference.
    assert min(distances) > 15


def test_no_color_is_pink_or_purple_like_the_stains() -> None:
    used: list[tuple[int, int, int]] = []
    for _ in range(255):
        used.append(next_color(used))
    assert len(set(used)) == 255
    assert used[: len(PALETTE)] == list(PALETTE)
    for color in used:
        hue, saturation, _ = colorsys.rgb_to_hsv(*(value / 255 for value in color))
        assert saturation < 0.05 or 20 < hue * 360 < 240, color


def test_ids_are_stable_and_not_reused() -> None:
    classes = ClassList()
    gland, stroma, fat = (classes.add(name) for name in ("gland", "stroma", "fat"))
    assert [info.id for info in classes] == [1, 2, 3]
    classes.rename(stroma.id, "connective tissue")
    classes.move(fat.id, 0)
    assert [(info.id, info.name) for info in classes] == [(3, "fat"), (1, "gland"), (2, "connective tissue")]
    classes.remove(gland.id)
    assert classes.add("nerve").id == 4
    assert classes.by_name("  NERVE ").id == 4
    assert classes.by_id(2).name == "connective tissue"


def test_recolor_and_colors_of_new_classes() -> None:
    classes = ClassList([ClassInfo(1, "gland", PALETTE[0])])
    assert classes.add("stroma").color == PALETTE[1]
    assert classes.recolor(1, (1, 2, 3)).color == (1, 2, 3)
    assert classes.add("fat").color == PALETTE[0]
    with pytest.raises(ClassListError, match=r"colour of 'fat' is \(0, 300, 0\).*0\.\.255"):
        classes.recolor(3, (0, 300, 0))
    assert classes.by_id(3).color == PALETTE[0]


@pytest.mark.parametrize("name", ["gland", " Gland ", "GLAND", "gland\n"])
def test_duplicate_name_is_refused(name: str) -> None:
    classes = ClassList([ClassInfo(7, "Gland", (0, 0, 0)), ClassInfo(9, "fat", (1, 1, 1))])
    before = classes.snapshot
    with pytest.raises(
        DuplicateNameError, match=r"class 'Gland' \(id 7\) already exists; choose another name"
    ):
        classes.add(name)
    with pytest.raises(DuplicateNameError, match="choose another name"):
        classes.rename(9, name)
    assert classes.snapshot == before
    classes.rename(7, name)  # its own name in another spelling is allowed
    assert classes.by_id(7).name == name.strip()


@pytest.mark.parametrize("name", ["", "   ", "\n\t"])
def test_empty_name_is_refused(name: str) -> None:
    classes = ClassList([ClassInfo(1, "gland", (0, 0, 0))])
    for call in (lambda: classes.add(name), lambda: classes.rename(1, name)):
        with pytest.raises(ClassListError, match="class name is empty"):
            call()
    assert [info.name for info in classes] == ["gland"]


def test_at_most_255_classes() -> None:
    classes = ClassList()
    for number in range(255):
        classes.add(f"class {number}")
    assert {info.id for info in classes} == set(range(1, 256))
    with pytest.raises(ClassListError, match="255 classes, so 'one' cannot be added"):
        classes.add("one")
    classes.remove(17)
    assert classes.add("one").id == 17


def test_unknown_ids_and_names() -> None:
    classes = ClassList([ClassInfo(2, "gland", (0, 0, 0))])
    with pytest.raises(UnknownNameError, match=r"no class with id 1; available: 2 \(gland\)"):
        classes.by_id(1)
    with pytest.raises(UnknownNameError, match="Did you mean 'gland'"):
        classes.by_name("glnd")
    with pytest.raises(UnknownNameError, match="none, add a class first"):
        ClassList().remove(1)


@pytest.mark.parametrize(
    ("classes", "error"),
    [
        ([ClassInfo(0, "a", (0, 0, 0))], "has id 0; choose an id in 1..255"),
        ([ClassInfo(256, "a", (0, 0, 0))], "has id 256"),
        ([ClassInfo(1, "a", (0, 0, 0)), ClassInfo(1, "b", (0, 0, 0))], "id 1 occurs twice"),
        ([ClassInfo(1, "a", (0, 0, 0)), ClassInfo(2, "A ", (0, 0, 0))], "'A' occurs twice"),
        ([ClassInfo(1, " ", (0, 0, 0))], "class name is empty"),
    ],
)
def test_inconsistent_list_is_refused(classes: list[ClassInfo], error: str) -> None:
    with pytest.raises(SampathError, match=error) as caught:
        ClassList(classes)
    assert "\n" not in str(caught.value)


def test_redirect_receives_the_new_classes() -> None:
    classes = ClassList([ClassInfo(1, "gland", (0, 0, 0))])
    wishes: list[tuple[ClassInfo, ...]] = []
    classes.redirect = wishes.append
    added = classes.add("fat")
    assert wishes == [(classes.by_id(1), added)]
    assert len(classes) == 1
    classes.rename(1, "gland")  # no change, no call
    assert len(wishes) == 1


@given(st.lists(st.text(max_size=8), max_size=30))
def test_names_stay_unique(names: list[str]) -> None:
    classes = ClassList()
    sentences = []
    for name in names:
        try:
            classes.add(name)
        except SampathError as error:
            sentences.append(str(error))
    assert not any("\n" in sentence for sentence in sentences)
    keys = [info.name.strip().casefold() for info in classes]
    assert len(set(keys)) == len(keys)
    assert all(keys)
    assert ClassList(classes) == classes
