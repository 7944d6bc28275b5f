"""Fixtures of the tests of weights: no pause between attempts, and no token of the person who runs the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import huggingface_hub.constants
import pytest

from napari_sampath.encoders.weights import download

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_PAUSE_S", 0.0)


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(own_cache / "token"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(own_cache / "hub"))


@pytest.fixture
def folder(own_cache: Path) -> Path:
    """Return the folder of downloaded weights."""
    return own_cache / "weights"
