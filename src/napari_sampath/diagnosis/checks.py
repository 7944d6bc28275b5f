"""The checks of `sampath doctor`, in the order in which their results are shown."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from ..config import Config, load_config, own_log_file
from ..errors import ConfigError
from ..jobs import Job, Progress
from .check import Check, ChildResult, run_child
from .window_checks import check_window

GIB = 2**30
LOW_MEMORY_GIB, LOW_DISK_GIB, NO_DISK_GIB = 2.0, 1.0, 0.05
PACKAGES = (
    "numpy",
    "torch",
    "torchvision",
    "timm",
    "napari",
    "npe2",
    "vispy",
    "PyQt6",
    "PySide6",
    "zarr",
    "tifffile",
)


def check_computer() -> Job[list[Check]]:
    """Run all checks; each reports its result and, if there is a problem, how to solve it.

    Returns:
        The results in the order in which they are shown.
    """
    checks: list[Check] = []
    steps: list[tuple[str, Callable[[], list[Check]]]] = [
        ("Checking versions", lambda: [_python(), _packages()]),
        ("Checking folders", _places),
        ("Checking the window", check_window),
        ("Checking PyTorch", lambda: _torch(run_child(f"{__package__}.torch_probe"))),
    ]
    for done, (message, run) in enumerate(steps):
        yield Progress(done, len(steps) + 1, message, "checks")
        checks += run()
    yield Progress(len(steps), len(steps) + 1, "Testing a click", "checks")
    broken = any(check.state == "problem" and check.name == "PyTorch" for check in checks)
    if broken:
        checks.append(
            Check("Self-test", "problem", "not run, because PyTorch does not work", "Repair PyTorch first.")
        )
    else:
        checks.append(_self_test(run_child(f"{__package__}.self_test")))
    yield Progress(len(steps) + 1, len(steps) + 1, "Checked", "checks")
    return checks


def _python() -> Check:
    value = f"{platform.python_version()} at '{sys.executable}', {platform.platform()}"
    return Check("Python", "ok", value)


def _packages() -> Check:
    versions = []
    for name in ("napari-sampath", *PACKAGES):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Check("Packages", "ok", ", ".join(versions))


def _places() -> list[Check]:
    """Check memory, and the folders for features, weights and annotations."""
    memory = psutil.virtual_memory()
    low = memory.available < LOW_MEMORY_GIB * GIB
    checks = [
        Check(
            "Memory",
            "note" if low else "ok",
            f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free",
            "Close other programs before you open large images." if low else "",
        )
    ]
    try:
        config = load_config()
    except ConfigError as error:
        return [*checks, Check("Settings", "problem", str(error), "Correct or remove this setting.")]
    return [*checks, *_folders(config), _log(own_log_file())]


def _folders(config: Config) -> list[Check]:
    return [
        _folder("Cache", config.cache_dir, "SAMPATH_CACHE", "features and weights cannot be kept"),
        _folder("User data", config.data_dir, "SAMPATH_USER_DATA", "annotations cannot be saved"),
    ]


def _folder(name: str, folder: Path, variable: str, consequence: str) -> Check:
    """Check that a folder can be written, and the free space of its disk."""
    move = f"set {variable} to a folder on another disk"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-") as file:
            file.write(bytes(100_000))
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(folder).free / GIB
    except (FileExistsError, NotADirectoryError):
        value = f"'{folder}' cannot be a folder, because a file has its name or that of a folder above it"
        remedy = f"Without it {consequence}: rename that file, or set {variable} to a folder."
        return Check(name, "problem", value, remedy)
    except OSError as error:
        remedy = f"Without it {consequence}: give yourself the right to write there, free space, or {move}."
        return Check(name, "problem", f"'{folder}' cannot be written ({error.strerror or error})", remedy)
    value = f"'{folder}', {free:.1f} GiB free"
    if free < NO_DISK_GIB:
        return Check(name, "problem", value, f"Free space on this disk, or {move}.")
    if free < LOW_DISK_GIB:
        return Check(name, "note", value, f"Features of large images need more: free space, or {move}.")
    return Check(name, "ok", value)


def _log(file: Path) -> Check:
    if not file.is_file():
        return Check("Log file", "ok", f"no unexpected error so far; errors are written to '{file}'")
    return Check("Log file", "note", f"'{file}'", "Attach it when you report an error.")


def _torch(result: ChildResult) -> list[Check]:
    """Describe what PyTorch can use, and why it does not use a GPU."""
    if result.failure:
        remedy = "Reinstall it: pip install --force-reinstall torch torchvision."
        return [Check("PyTorch", "problem", f"cannot be used ({result.failure})", remedy)]
    values: Mapping[str, Any] = result.values
    checks = [
        Check(
            "PyTorch", "ok", f"{values['version']}, {values['threads']} threads, runs on {values['device']}"
        )
    ]
    if not values["reason"]:
        return checks
    has_gpu = shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia/version").exists()
    if not has_gpu:
        return [*checks, Check("GPU", "ok", "none was found; sampath-tiny runs on the CPU")]
    remedy = (
        "Update the driver, or install the build of PyTorch for it: https://pytorch.org/get-started/locally/."
    )
    return [
        *checks,
        Check("GPU", "note", f"an NVIDIA driver is installed, but not used: {values['reason']}", remedy),
    ]


def _self_test(result: ChildResult) -> Check:
    """Describe the result of encoding, clicking, writing and reading."""
    if result.failure:
        remedy = "Solve the problems above; if there are none, report this output."
        return Check("Self-test", "problem", f"a click on the sample failed ({result.failure})", remedy)
    seconds: Mapping[str, float] = result.values["seconds"]
    times = ", ".join(f"{step} {value:.2f} s" for step, value in seconds.items())
    return Check("Self-test", "ok", f"a click on the sample works on {result.values['device']}: {times}")
