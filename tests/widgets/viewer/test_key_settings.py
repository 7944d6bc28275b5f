"""The user's key settings: each is applied or refused with one sentence, and no key has two actions."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.layers import Image, Labels

from napari_sampath.widgets.viewer.key_settings import (
    choose_keys,
    key_text,
    keys_file,
    load_keys,
    napari_keys,
    normalize,
)
from napari_sampath.widgets.viewer.keys import KEYS

NAPARI = {"V": "toggle selected visibility", "M": "new label", "Ctrl+R": "reset view"}


def test_default_keys_are_unique() -> None:
    keys = [normalize(key.key) for key in KEYS]
    assert len(set(keys)) == len(keys) == len({key.name for key in KEYS})


@pytest.mark.gui
def test_napari_does_not_use_the_keys_of_the_object_tools(viewer: Any) -> None:
    taken = napari_keys((viewer, Image(np.zeros((4, 4))), Labels(np.zeros((4, 4), np.uint8))))
    assert taken["V"] == "toggle selected visibility"
    assert taken["P"] == "activate labels paint mode"
    ours = [
        key
        for key in KEYS
        if key.method in ("tools.use", "tools.show_help") or key.name in ("commit_overwrite", "commit_keep")
    ]
    assert not {normalize(key.key) for key in ours} & set(taken)


def test_keys_are_changed_and_two_keys_can_be_swapped() -> None:
    choice = choose_keys({"smooth": "shift-s", "next_candidate": "T", "reviewed": "M"}, NAPARI)
    assert choice.problems == ()
    keys = {key.name: (key.key, key.shown) for key in choice.keys}
    assert keys["smooth"] == ("Shift+S", "Shift-S")
    assert keys["next_candidate"] == ("T", "T")
    assert keys["reviewed"] == ("M", "M"), "M is a default key, so another action may use it"
    assert choice.shown("smooth") == "Shift-S"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"smoth": "Y"}, "smoth"),
        ({"smooth": "Shift"}, "'Shift' is not a key, so 'smooth outline' stays on S"),
        ({"smooth": 7}, "'7' is not a key"),
        (
            {"smooth": "v"},
            "V is bound to 'toggle selected visibility' in napari, so 'smooth outline' stays on S",
        ),
        ({"smooth": "G"}, "G is also the key of 'grow', so 'smooth outline' stays on S"),
    ],
)
def test_an_unusable_key_is_refused_with_one_sentence(wanted: dict[str, object], message: str) -> None:
    choice = choose_keys(wanted, NAPARI)
    assert choice.keys == KEYS
    (problem,) = choice.problems
    assert message in problem


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([key.name for key in KEYS]),
        st.sampled_from([*"ABGHJKMQSTVWY", "Shift-G", "Escape", "Enter", "F2", "Control-Z", "?", ""]),
    )
)
def test_every_action_has_one_key_and_every_key_one_action(wanted: dict[str, object]) -> None:
    choice = choose_keys(wanted, NAPARI)
    assert [key.name for key in choice.keys] == [key.name for key in KEYS]
    keys = [normalize(key.key) for key in choice.keys]
    assert len(set(keys)) == len(keys)
    assert "V" not in keys
    changed = {key.name for key, default in zip(choice.keys, KEYS, strict=True) if key != default}
    defaults = {key.name: normalize(key.key) for key in KEYS}
    asked = {name for name, value in wanted.items() if normalize(value) != defaults[name]}
    assert len(choice.problems) == len(asked - changed)


def test_the_key_file_is_read() -> None:
    path = keys_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({key.name: key.key for key in KEYS}))
    assert load_keys(()).keys == KEYS
    path.write_text('{"grow": "Y"}')
    assert load_keys(()).shown("grow") == "Y"
    path.write_text("{broken")
    assert load_keys(()).keys == KEYS


def test_keys_are_shown_as_on_the_keyboard() -> None:
    assert [key_text(key) for key in ("Control-Shift-Z", "Escape", "g")] == ["Ctrl-Shift-Z", "Esc", "G"]
