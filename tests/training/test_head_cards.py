"""Cards of heads: what each shipped head is for and how well it was measured, and which one fits an image."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from napari_sampath.arrays import ClassInfo
from napari_sampath.heads import list_bundles, load_head, save_bundle
from napari_sampath.training.rounds.head_cards import describe_mpp, fitting_head, head_card


def classes(*names: str) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(number, name, (0, 0, 0)) for number, name in enumerate(names, start=1))


@pytest.mark.parametrize("name", list_bundles())
def test_each_shipped_head_says_what_it_is_for(name: str) -> None:
    card = head_card(name)
    assert card.measured
    assert "Dice 0." in card.quality
    assert "everything" in card.quality
    assert card.tissue != "Unknown tissue"
    assert card.licence
    assert card.picture is not None, "scripts/head_pictures.py"
    assert all(info.name in card.text for info in card.classes)


def test_a_replaced_file_has_a_new_card(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    for name in list_bundles()[:2]:
        shutil.copyfile(load_head(name).source, path)
        card = head_card(path)
        assert replace(card, picture=None) == replace(head_card(name), head=str(path), picture=None)
        assert card == head_card(str(path))


def test_the_head_with_the_classes_of_the_image_is_proposed() -> None:
    cards = [head_card(name) for name in list_bundles()]
    cards.append(replace(cards[0], name="tumour-mine", classes=classes("tumour")))
    for names, start in ((("nuclei",), "nucleus"), (("stroma", "Tumor"), "tumour"), (("Glands",), "gland")):
        card = fitting_head(cards, classes(*names))
        assert card is not None
        assert card.name.startswith(start)
    assert fitting_head(cards, classes("object")) is None


def test_a_head_that_was_never_measured_comes_last_and_the_nearest_scale_first() -> None:
    card = replace(head_card("gland-cnn"), mpp=0.5)
    blind, far = replace(card, name="blind", measured=False), replace(card, name="far", mpp=2.0)
    assert fitting_head([blind, far, card], classes("gland"), 0.5) is card
    assert fitting_head([blind, far], classes("gland"), 0.5) is far
    assert describe_mpp(0.5) == "20x (0.50 um per pixel)"
    assert describe_mpp(0.25).startswith("40x")


def test_one_image_is_called_an_image(tmp_path: Path) -> None:
    loaded, path = load_head("gland-cnn"), tmp_path / "mine.safetensors"
    metrics = {"chosen_on": "val", "head": {"per_image": {"mean": {"dice": 0.96}}, "images": 1}}
    save_bundle(path, loaded.head, replace(loaded.metadata, metrics=metrics))
    assert head_card(path).quality == "Dice 0.96 on 1 validation image."
