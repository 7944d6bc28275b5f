"""Shared fixtures: tissue images, golden cases, a small SAM checkpoint and a separate cache."""

from __future__ import annotations

import gc
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.display import can_start_display, start_display
from support.golden import Golden, load_procweights, uniform
from support.paths import ROOT, TESTS

if TYPE_CHECKING:
    from collections.abc import Iterator

# Libraries create millions of permanent objects; searching them for garbage at the usual rate takes a minute.
gc.set_threshold(50_000, 20, 100)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that makes label layers hold only a window of larger images."""
    parser.addoption(
        "--label-window",
        type=int,
        metavar="PX",
        help="let label layers hold at most this many pixels per side, as on slides",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of pytest-xdist its own display, so that tests with windows run at the same time."""
    if hasattr(config, "workerinput") and can_start_display():
        server = start_display()
        config.add_cleanup(server.wait)
        config.add_cleanup(server.terminate)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Keep long texts out of the names of tests: one of 16 MB made each report 64 MB large."""
    return f"{argname} of {len(val)}" if isinstance(val, str | bytes) and len(val) > 100 else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a file's tests in one process, because they share fixtures.

    Without a display for each process, all tests with windows run in one process. Tests that start a program with
    windows give it a separate display and are separate groups.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            together = item.get_closest_marker("gui") and not can_start_display()
            item.add_marker(pytest.mark.xdist_group("gui" if together else str(item.path)))
    # Start the longest groups first, so that the processes end together: windows, then tests with a longer timeout,
    # then files with slow tests.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(
        key=lambda item: [
            not item.get_closest_marker("gui"),
            not item.get_closest_marker("timeout"),
            item.path not in slow,
        ]
    )


def _folder(variable: str, default: str, proof: str) -> Path:
    """Return the folder named by an environment variable; skip the test if it is missing."""
    folder = Path(os.environ.get(variable) or ROOT / default).expanduser().resolve()
    if not (folder / proof).exists():
        pytest.skip(f"needs {proof} in {folder}; set {variable} to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the tissue images (`ebhi_glands/`, `bbbc038_nuclei/` ...); skips the test if it is missing."""
    return _folder("SAMPATH_DATA", "../shared/data", "README.md")


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Golden cases of the reference implementations; skips the test if they are missing."""
    import numpy as np

    folder = _folder("SAMPATH_GOLDEN", "../shared/golden", "procweights.py")
    make = load_procweights(folder)
    vars(make)["uniform"] = uniform
    with np.load(folder / "expected.npz") as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    return Golden(folder, make, make.load_json(folder / "cases.json"), stored)


@pytest.fixture(scope="session")
def tiny_sam_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small checkpoint in SAM's format with random weights, for `--model sam --weights FILE`."""
    import torch
    from benchmarks.tiny_sam import build_tiny_sam

    path = tmp_path_factory.mktemp("weights") / "tiny-sam.pth"
    torch.save(build_tiny_sam().state_dict(), path)
    return path


@pytest.fixture(scope="session")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """New folders in a folder of their own: pytest reads the names of all folders whenever it makes one beside them."""
    parent = tmp_path_factory.mktemp("sampath-homes")
    return (parent / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def own_cache(homes: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test, and the processes it starts, its own cache, settings and journals."""
    folder = next(homes)
    folder.mkdir()
    monkeypatch.setenv("SAMPATH_CACHE", str(folder / "cache"))
    monkeypatch.setenv("SAMPATH_USER_DATA", str(folder / "data"))
    monkeypatch.setenv("SAMPATH_PRECISION", "float32")  # equal features on every processor
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    places = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, places)))
    for name in ("SAMPATH_DEVICE", "SAMPATH_CACHE_LIMIT_BYTES", "SAMPATH_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    return folder / "cache"


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest) -> None:
    """Skip tests marked `data`, `gpu` or `gui` where they cannot run."""
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
