"""SamPath's page in napari's Preferences: its settings are used, and shared with the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from napari_sampath.config import load_config, write_setting
from napari_sampath.encoders import registry
from napari_sampath.errors import ConfigError
from napari_sampath.jobs import run
from napari_sampath.widgets.viewer import preferences
from napari_sampath.widgets.viewer.jobs import model_job
from support.models.discs import DiscModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The settings of the page, in a folder of this test."""
    napari_settings = pytest.importorskip("napari.settings")
    if not hasattr(napari_settings, "get_plugin_settings"):
        pytest.skip("napari has no pages of plugins before 0.9")
    napari_settings._clear_plugin_settings_cache()
    monkeypatch.setattr(napari_settings, "_CFG_PATH", str(tmp_path / "settings.yaml"))
    monkeypatch.delenv("SAMPATH_CACHE")
    yield napari_settings.get_plugin_settings("napari-sampath")
    napari_settings._clear_plugin_settings_cache()


def test_the_page_and_the_command_line_have_the_same_settings(settings: Any, tmp_path: Path) -> None:
    write_setting("cache_limit_bytes", 5 * 2**30)
    write_setting("device", "cuda:1")  # which the page cannot show
    preferences.share_config()
    preferences.share_config()  # a second window
    assert settings.computer.cache_limit_gib == 5
    assert load_config().device == "cuda:1"
    settings.computer.device = "cpu"
    settings.computer.cache_folder = str(tmp_path / "cache")
    settings.computer.cache_limit_gib = 7
    config = load_config()
    assert (config.device, config.cache_dir) == ("cpu", tmp_path / "cache")
    assert config.cache_limit_bytes == 7 * 2**30
    settings.computer.cache_folder = "cac"  # not typed to the end
    assert load_config().cache_dir == tmp_path / "cache"
    settings.computer.cache_folder = ""
    assert load_config().cache_dir != tmp_path / "cache"


def test_models_of_the_page_exist(settings: Any) -> None:
    schema = type(settings.annotating).model_json_schema()["properties"]["model"]
    assert schema["default"] == preferences.ModelChoice().name
    assert all(registry[name].info.promptable for name in schema["enum"])


@pytest.mark.gui
def test_a_new_window_uses_the_settings(
    settings: Any, tissue: Any, open_window: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.annotating.model = "vit_b"
    settings.annotating.preview = False
    monkeypatch.setenv("SAMPATH_DEVICE", "cpu")
    window = open_window(tissue, DiscModel())
    assert (window.state.choice.name, window.state.choice.device) == ("vit_b", "cpu")
    assert not window.state.annotator.preview.on


def test_napari_without_pages_of_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    import napari.settings

    monkeypatch.delattr(napari.settings, "get_plugin_settings", raising=False)
    preferences.share_config()
    assert preferences.first_choice() == preferences.ModelChoice()
    assert preferences.previews()


def test_a_server_without_a_token_file_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPATH_SERVER", "http://127.0.0.1:1")
    monkeypatch.delenv("SAMPATH_SERVER_TOKEN_FILE", raising=False)
    with pytest.raises(ConfigError, match="set without SAMPATH_SERVER_TOKEN_FILE"):
        run(model_job("sampath-tiny", "http://127.0.0.1:1", None, keep=False))
