"""SamPath's page in napari's Preferences, declared in `napari.yaml`.

napari has pages of plugins since 0.9; with earlier versions, the defaults apply.

Device and cache are settings of the command line, too: the page shows and changes the user's `config.json`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_warning

from ...config import load_config, read_settings, write_setting
from ...errors import ConfigError, StorageError
from .jobs import ModelChoice

logger = logging.getLogger(__name__)

PLUGIN = "napari-sampath"
GIB = 2**30
SHARED: dict[str, tuple[str, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "device": ("device", str, str),
    "cache_folder": ("cache_dir", str, lambda text: text.strip() or None),
    "cache_limit_gib": ("cache_limit_bytes", lambda size: int(size) // GIB, lambda size: size * GIB),
}
"""Setting of the page -> setting of `config.json`, and the conversions from it and to it."""


def first_choice() -> ModelChoice:
    """Return the model and device of a new window."""
    settings = _settings()
    name = ModelChoice().name if settings is None else str(settings.annotating.model)
    try:
        return ModelChoice(name, load_config().device)
    except ConfigError as error:
        logger.warning("%s", error)
        return ModelChoice(name)


def previews() -> bool:
    """Return whether clicks are previewed on an image when it is opened."""
    settings = _settings()
    return settings is None or bool(settings.annotating.preview)


def share_config() -> None:
    """Show the values of `config.json` on the page, and write changes on the page to it."""
    settings = _settings()
    if settings is None:
        return
    settings.events.changed.disconnect(_on_changed)
    stored = read_settings("config.json")
    for name, (key, from_config, _) in SHARED.items():
        if stored.get(key) is None:
            continue
        try:
            setattr(settings.computer, name, from_config(stored[key]))
        except (TypeError, ValueError):  # the page has a narrower choice, such as no "cuda:1"
            logger.info("napari's Preferences cannot show '%s' of config.json", key)
    settings.events.changed.connect(_on_changed)


def _settings() -> Any:
    """Return the page's settings; None if napari has none."""
    try:
        from napari.settings import get_plugin_settings

        return get_plugin_settings(PLUGIN)
    except (ImportError, KeyError):
        return None


def _on_changed(event: Any) -> None:
    """Write a changed setting to `config.json`."""
    category, _, name = str(event.key).partition(".")
    if category != "computer" or name not in SHARED:
        return
    key, _, to_config = SHARED[name]
    value = to_config(event.value)
    # The page reports every letter that is typed, so a path is incomplete until it is absolute.
    if key == "cache_dir" and value is not None and not Path(value).expanduser().is_absolute():
        return
    try:
        write_setting(key, value)
    except StorageError as error:
        show_warning(str(error))
