"""The user's own keys: `keys.json` in the configuration folder, for example {"smooth": "Shift-S", "help": "F1"}."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app_model.types import KeyCode
from napari.utils.key_bindings import coerce_keybinding

from ...config import read_settings, settings_file
from ...registry import unknown_name
from .keys import KEYS, Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

FILE = "keys.json"

_SHORT = {"Escape": "Esc"}


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """The keys in force, and what was wrong with those wished."""

    keys: tuple[Key, ...]
    problems: tuple[str, ...] = ()
    """One sentence each."""

    def key(self, name: str) -> str:
        """Return the key of an action (`Key.name`) in napari's notation."""
        return next(one.key for one in self.keys if one.name == name)

    def shown(self, name: str) -> str:
        """Return the key of an action (`Key.name`) as it stands on the keyboard."""
        return show(self.key(name))


def keys_file() -> Path:
    """Return the place of the user's file of keys."""
    return settings_file(FILE)


def write_keys_file() -> Path:
    """Make the user's file of keys, with the keys as they are, unless there is one; return its place."""
    path = keys_file()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({one.name: one.key for one in KEYS}, indent=2) + "\n", encoding="utf-8")
    return path


def load_keys(places: Iterable[Any]) -> KeyChoice:
    """Read the user's keys.

    Args:
        places: The viewer and the layers where they will be bound; what napari binds there is not given away.
    """
    return choose_keys(read_settings(FILE), napari_keys(places))


def choose_keys(wishes: Mapping[str, object], taken: Mapping[str, str]) -> KeyChoice:
    """Put the user's keys in place of ours, as far as each key then does one thing.

    Args:
        wishes: Name of an action (`Key.name`) -> key in napari's notation.
        taken: Key of napari, as `normal` writes it -> what it does. Those of `KEYS` are ours.
    """
    own = {one.name: one for one in KEYS}
    ours = {normal(one.key) for one in KEYS}
    problems: list[str] = []
    wanted: dict[str, str] = {}
    for name, wish in wishes.items():
        key = normal(wish)
        if name not in own:
            problems.append(unknown_name("action", name, list(own)))
        elif not key:
            problems.append(
                f"'{wish}' is not a key, so '{own[name].text}' stays on {show(own[name].key)}; "
                "write a letter, or for example Shift-G, F2 or Delete."
            )
        elif key in taken and key not in ours:
            problems.append(
                f"{show(key)} means '{taken[key]}' in napari, so '{own[name].text}' stays on "
                f"{show(own[name].key)}; choose another key."
            )
        elif key != normal(own[name].key):
            wanted[name] = key
    while (clash := _clash(wanted)) is not None:
        loser, winner = clash
        problems.append(
            f"{show(wanted.pop(loser))} is the key for '{own[winner].text}' too, so '{own[loser].text}' stays on "
            f"{show(own[loser].key)}; choose another key for one of them."
        )
    keys = (
        replace(one, key=wanted[one.name], shown=show(wanted[one.name])) if one.name in wanted else one
        for one in KEYS
    )
    return KeyChoice(tuple(keys), tuple(problems))


def napari_keys(places: Iterable[Any]) -> dict[str, str]:
    """Return what napari binds on the classes of viewers and layers: key, as `normal` writes it -> what it does."""
    found: dict[str, str] = {}
    for place in places:
        for kind in type(place).__mro__:
            for key, function in vars(kind).get("class_keymap", {}).items():
                found.setdefault(str(key), getattr(function, "__name__", "something").replace("_", " "))
    return found


def normal(key: object) -> str:
    """Write a key in the one way that can be compared, "Ctrl+Shift+Z"; "" if it is none."""
    if not isinstance(key, str) or not key.strip():
        return ""
    try:
        binding = coerce_keybinding(key.strip())
    except (ValueError, KeyError, TypeError):
        return ""
    alone = {KeyCode.UNKNOWN, KeyCode.Shift, KeyCode.Ctrl, KeyCode.Alt, KeyCode.Meta}
    if len(binding.parts) != 1 or binding.part0.key in alone:
        return ""
    return str(binding)


def show(key: str) -> str:
    """Write a key as it stands on the keyboard."""
    return "-".join(_SHORT.get(part, part) for part in normal(key).split("+"))


def _clash(wanted: Mapping[str, str]) -> tuple[str, str] | None:
    """Find two actions with one key: the name of one whose key was wished, and of the other."""
    holders: dict[str, str] = {}
    # Those that keep their key come first: it is the wish that has to give way.
    for one in sorted(KEYS, key=lambda one: one.name in wanted):
        key = wanted.get(one.name) or normal(one.key)
        if key in holders:
            return one.name, holders[key]
        holders[key] = one.name
    return None
