"""The user's own keys: every wish is either fulfilled or refused in one sentence, and no key does two things."""

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
    keys_file,
    load_keys,
    napari_keys,
    normal,
    show,
    write_keys_file,
)
from napari_sampath.widgets.viewer.keys import KEYS

NAPARI = {"V": "toggle selected visibility", "M": "new label", "Ctrl+R": "reset view"}


def test_our_own_keys_differ() -> None:
    keys = [normal(one.key) for one in KEYS]
    assert len(set(keys)) == len(keys) == len({one.name for one in KEYS})


@pytest.mark.gui
def test_the_keys_of_the_object_tools_mean_nothing_to_napari(viewer: Any) -> None:
    taken = napari_keys((viewer, Image(np.zeros((4, 4))), Labels(np.zeros((4, 4), np.uint8))))
    assert taken["V"] == "toggle selected visibility", "napari's keys are found"
    assert taken["P"] == "activate labels paint mode"
    assert not {normal(one.key) for one in KEYS if one.method in ("tools.use", "tools.show_help")} & set(
        taken
    )
    assert not {normal(one.key) for one in KEYS if one.name in ("commit_overwrite", "commit_keep")} & set(
        taken
    )


def test_a_wish_is_fulfilled_and_two_keys_may_change_places() -> None:
    choice = choose_keys({"smooth": "shift-s", "next_candidate": "T", "reviewed": "M"}, NAPARI)
    assert choice.problems == ()
    keys = {one.name: (one.key, one.shown) for one in choice.keys}
    assert keys["smooth"] == ("Shift+S", "Shift-S")
    assert keys["next_candidate"] == ("T", "T")
    assert keys["reviewed"] == ("M", "M"), "M is ours already, so it may be used for something else"
    assert choice.shown("smooth") == "Shift-S"


@pytest.mark.parametrize(
    ("wishes", "sentence"),
    [
        ({"smoth": "Y"}, "smoth"),
        ({"smooth": "Shift"}, "'Shift' is not a key, so 'smooth its outline' stays on S"),
        ({"smooth": 7}, "'7' is not a key"),
        (
            {"smooth": "v"},
            "V means 'toggle selected visibility' in napari, so 'smooth its outline' stays on S",
        ),
        ({"smooth": "G"}, "G is the key for 'grow' too, so 'smooth its outline' stays on S"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(wishes: dict[str, object], sentence: str) -> None:
    choice = choose_keys(wishes, NAPARI)
    assert choice.keys == KEYS
    (problem,) = choice.problems
    assert sentence in problem


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([one.name for one in KEYS]),
        st.sampled_from([*"ABGHJKMQSTVWY", "Shift-G", "Escape", "Enter", "F2", "Control-Z", "?", ""]),
    )
)
def test_whatever_is_wished_every_action_has_one_key_and_every_key_one_action(
    wishes: dict[str, object],
) -> None:
    choice = choose_keys(wishes, NAPARI)
    assert [one.name for one in choice.keys] == [one.name for one in KEYS]
    keys = [normal(one.key) for one in choice.keys]
    assert len(set(keys)) == len(keys)
    assert "V" not in keys
    changed = {one.name for one, own in zip(choice.keys, KEYS, strict=True) if one != own}
    own = {one.name: normal(one.key) for one in KEYS}
    asked = {name for name, wish in wishes.items() if normal(wish) != own[name]}
    assert len(choice.problems) == len(asked - changed)


def test_the_file_is_written_with_what_is_and_read_when_it_was_changed() -> None:
    path = write_keys_file()
    assert path == keys_file()
    written = json.loads(path.read_text())
    assert written["grow"] == "G"
    assert load_keys(()).keys == KEYS, "as it was written nothing changes"
    path.write_text(json.dumps({**written, "grow": "Y"}))
    assert write_keys_file().read_text() == path.read_text(), "what the user wrote stays"
    assert load_keys(()).shown("grow") == "Y"
    path.write_text("{broken")
    assert load_keys(()).keys == KEYS


def test_keys_are_shown_as_on_the_keyboard() -> None:
    assert [show(key) for key in ("Control-Shift-Z", "Escape", "g")] == ["Ctrl-Shift-Z", "Esc", "G"]
