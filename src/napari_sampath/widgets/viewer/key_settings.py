"""Custom keys, from `keys.json` in the configuration folder, for example {"smooth": "Shift-S", "help": "F1"}."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app_model.types import KeyCode
from napari.utils.key_bindings import coerce_keybinding

from ...config import read_settings, settings_file
from ...errors import StorageError
from ...files import write_atomically
from ...registry import unknown_name
from .keys import KEYS, Key

FILE = "keys.json"


@dataclass(frozen=True, slots=True)
class KeyChoice:
    """The keys to bind, and the custom keys that were rejected."""

    keys: tuple[Key, ...]
    problems: tuple[str, ...] = ()
    """One message for each rejected key."""

    def key(self, name: str) -> str:
        """Return the key of an action (`Key.name`) in napari's notation."""
        return next(key.key for key in self.keys if key.name == name)

    def text(self, name: str) -> str:
        """Return the description of an action (`Key.name`)."""
        return next(key.text for key in self.keys if key.name == name)

    def shown(self, name: str) -> str:
        """Return the key of an action (`Key.name`) as printed on the keyboard."""
        return key_text(self.key(name))


def keys_file() -> Path:
    """Return the path of the user's key file."""
    return settings_file(FILE)


def save_key(name: str, key: str) -> str:
    """Store a custom key in the user's key file; do nothing if it would be rejected.

    Args:
        name: Name of the action (`Key.name`).
        key: The key in napari's notation.

    Returns:
        Why the key was rejected, or why it could not be stored; "" if it is stored.
    """
    wanted = dict(read_settings(FILE))
    before = set(choose_keys(wanted, {}).problems)
    wanted[name] = key
    problem = next((text for text in choose_keys(wanted, {}).problems if text not in before), "")
    if problem:
        return problem
    content = json.dumps(wanted, indent=2) + "\n"
    try:
        write_atomically(keys_file(), lambda stream: stream.write(content.encode()))
    except StorageError as error:
        return str(error)
    return ""


def load_keys(owners: Iterable[Any]) -> KeyChoice:
    """Read the custom keys, and reject keys that napari binds on `owners` (a viewer and layers)."""
    return choose_keys(read_settings(FILE), napari_keys(owners))


def choose_keys(wanted: Mapping[str, object], taken: Mapping[str, str]) -> KeyChoice:
    """Replace default keys with custom keys; reject a custom key that would have two actions.

    Args:
        wanted: Name of an action (`Key.name`) -> key in napari's notation.
        taken: Key that napari binds, in the form of `normalize` -> its action; keys in `KEYS` are allowed nevertheless.
    """
    defaults = {key.name: key for key in KEYS}
    ours = {normalize(key.key) for key in KEYS}
    problems: list[str] = []
    changed: dict[str, str] = {}
    for name, value in wanted.items():
        key = normalize(value)
        if name not in defaults:
            problems.append(unknown_name("action", name, list(defaults)))
        elif not key:
            problems.append(
                f"'{str(value)[:40]}' is not a key, so {_stays(name)}; write a letter, or for example "
                "Shift-G, F2 or Delete."
            )
        elif key in taken and key not in ours:
            problems.append(
                f"{key_text(key)} is bound to '{taken[key]}' in napari, so {_stays(name)}; choose another key."
            )
        elif key != normalize(defaults[name].key):
            changed[name] = key
    while (clash := _clash(changed)) is not None:
        loser, winner = clash
        problems.append(
            f"{key_text(changed.pop(loser))} is also the key of '{defaults[winner].text}', so {_stays(loser)}; "
            "choose another key for one of them."
        )
    keys = (
        replace(key, key=changed[key.name], shown=key_text(changed[key.name])) if key.name in changed else key
        for key in KEYS
    )
    return KeyChoice(tuple(keys), tuple(problems))


def napari_keys(owners: Iterable[Any]) -> dict[str, str]:
    """Return the keys, in the form of `normalize`, that napari binds on viewers and layers, with their actions."""
    keys: dict[str, str] = {}
    for owner in owners:
        for cls in type(owner).__mro__:
            for key, function in vars(cls).get("class_keymap", {}).items():
                keys.setdefault(str(key), getattr(function, "__name__", "something").replace("_", " "))
    return keys


def normalize(key: object) -> str:
    """Return the canonical form of a key, such as "Ctrl+Shift+Z"; "" if it is not a key."""
    if not isinstance(key, str) or not key.strip():
        return ""
    try:
        binding = coerce_keybinding(key.strip())
    except (ValueError, KeyError, TypeError):
        return ""
    modifiers = {KeyCode.UNKNOWN, KeyCode.Shift, KeyCode.Ctrl, KeyCode.Alt, KeyCode.Meta}
    if len(binding.parts) != 1 or binding.part0.key in modifiers:
        return ""
    return str(binding)


def key_text(key: str) -> str:
    """Return a key as printed on the keyboard."""
    return "-".join("Esc" if part == "Escape" else part for part in normalize(key).split("+"))


def _stays(name: str) -> str:
    key = next(key for key in KEYS if key.name == name)
    return f"'{key.text}' stays on {key_text(key.key)}"


def _clash(changed: Mapping[str, str]) -> tuple[str, str] | None:
    """Return two actions that share a key, starting with a changed one; None if there are none."""
    actions: dict[str, str] = {}
    # Unchanged keys come first, so that in a conflict the changed key is rejected.
    for default in sorted(KEYS, key=lambda key: key.name in changed):
        key = changed.get(default.name) or normalize(default.key)
        if key in actions:
            return default.name, actions[key]
        actions[key] = default.name
    return None
