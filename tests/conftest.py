"""What test files share: where the tissue images and the golden cases lie, and a cache of their own."""

from __future__ import annotations

import gc
import importlib.util
import os
from pathlib import Path

import pytest

from support.golden import Golden
from support.paths import ROOT, TESTS

# Libraries make millions of objects that stay, and to search those for garbage as often as usual takes a minute.
gc.set_threshold(50_000, 20, 100)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, and all that open windows in the same: they share the display's focus.

    Tests that start a program with windows give it a display of its own and have a group of their own, too.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            group = "gui" if item.get_closest_marker("gui") else str(item.path)
            item.add_marker(pytest.mark.xdist_group(group))
    # The longest groups first, so that the processes end together: windows, then what was given more time than usual.
    items.sort(
        key=lambda item: (item.get_closest_marker("gui") is None, item.get_closest_marker("timeout") is None)
    )


def _folder(variable: str, default: str, proof: str) -> Path:
    """Return the folder that an environment variable names, or skip the test and say how to have it run."""
    folder = Path(os.environ.get(variable) or ROOT / default).expanduser().resolve()
    if not (folder / proof).exists():
        pytest.skip(f"needs {proof} in {folder}; set {variable} to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder with the tissue images (`ebhi_glands/`, `bbbc038_nuclei/` ...); skips where it is absent."""
    return _folder("SAMPATH_DATA", "../shared/data", "README.md")


@pytest.fixture(scope="session")
def golden() -> Golden:
    """The golden cases; skips where the folder is absent."""
    import numpy as np

    folder = _folder("SAMPATH_GOLDEN", "../shared/golden", "procweights.py")
    source = importlib.util.spec_from_file_location("procweights", folder / "procweights.py")
    if source is None or source.loader is None:
        raise RuntimeError(f"{folder / 'procweights.py'} cannot be imported")
    make = importlib.util.module_from_spec(source)
    source.loader.exec_module(make)
    with np.load(folder / "expected.npz") as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    return Golden(folder, make, make.load_json(folder / "cases.json"), stored)


@pytest.fixture(scope="session")
def tiny_sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint in SAM's format, small and with random weights: `--model sam --weights FILE`."""
    import torch
    from benchmarks.tiny_sam import build_tiny_sam

    path = tmp_path_factory.mktemp("weights") / "tiny-sam.pth"
    torch.save(build_tiny_sam().state_dict(), path)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep every test, and the processes it starts, out of the user's cache, settings and journals."""
    folder = tmp_path_factory.mktemp("sampath-home")
    monkeypatch.setenv("SAMPATH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("SAMPATH_PRECISION", "float32")  # the same features on every processor
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    places = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    for name in ("SAMPATH_DEVICE", "SAMPATH_CACHE_LIMIT_BYTES", "SAMPATH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return folder / "cache"


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest) -> None:
    """Give the markers their meaning: `gpu` and `gui` tests skip, saying so, where they cannot run."""
    if request.node.get_closest_marker("data"):
        request.getfixturevalue("data_dir")
    if request.node.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    if request.node.get_closest_marker("gui"):
        display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        if os.name == "posix" and os.uname().sysname == "Linux" and not display:
            pytest.skip("needs a display; run under xvfb-run, as 'make test' does")
