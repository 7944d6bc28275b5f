"""`sampath doctor` with real faults: no display, no OpenGL, unwritable folders, a full disk and a broken PyTorch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_sampath.cli import SUBCOMMANDS
from napari_sampath.cli import main as run_command
from napari_sampath.diagnosis import Check, window_checks
from napari_sampath.diagnosis.check import ChildResult, run_child
from napari_sampath.diagnosis.checks import _places, _self_test, _torch
from napari_sampath.diagnosis.window_checks import check_window
from napari_sampath.files import error_log
from napari_sampath.files.error_log import record_error
from support import small_disk
from support.paths import ROOT

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux: Qt chooses xcb there")
TORCH = "napari_sampath.diagnosis.torch_probe"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    yield from small_disk.mounted(tmp_path)


def by_name(checks: list[Check], name: str) -> Check:
    (check,) = [check for check in checks if check.name == name]
    return check


def assert_sentences(check: Check) -> None:
    assert check.state in ("ok", "note", "problem")
    assert bool(check.remedy) == (check.state != "ok"), check
    assert "\n" not in check.value + check.remedy
    assert "Traceback" not in check.value


@LINUX
@pytest.mark.parametrize("display", [None, ":4242"])
def test_without_a_display(display: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("napari", reason="needs the extra 'gui'")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    if display:
        monkeypatch.setenv("DISPLAY", display)
    (check,) = check_window()
    assert_sentences(check)
    assert (check.name, check.state) == ("Window", "problem")
    assert (display or "DISPLAY and WAYLAND_DISPLAY are not set") in check.value + check.remedy


@pytest.mark.gui
def test_with_a_display_and_a_disabled_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = tmp_path / "napari.yaml"
    settings.write_text("plugins:\n  disabled_plugins: [napari-sampath]\n")
    monkeypatch.setenv("NAPARI_CONFIG", str(settings))
    window, opengl, plugin = check_window()
    assert (window.state, opengl.state) == ("ok", "ok"), (window, opengl)
    assert "textures up to" in opengl.value
    assert_sentences(plugin)
    assert plugin.state == "problem"
    assert "disabled" in plugin.value


@LINUX
@pytest.mark.gui
def test_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/proc/sampath")  # read-only even for root
    (check,) = check_window()
    assert_sentences(check)
    assert check.state == "problem"
    assert "/proc/sampath" in check.value
    assert "home folder" in check.remedy


def test_version_of_napari(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("napari", reason="needs the extra 'gui'")
    manifest = (ROOT / "src" / "napari_sampath" / "napari.yaml").read_text(encoding="utf-8")
    assert f"min_napari_version: {window_checks.MIN_NAPARI}\n" in manifest
    assert window_checks._plugin(disabled=False).state == "ok"
    monkeypatch.setattr(window_checks, "MIN_NAPARI", "99")
    check = window_checks._plugin(disabled=False)
    assert_sentences(check)
    assert "is older than 99" in check.value


@pytest.mark.parametrize(
    ("version", "python", "state"),
    [("6.12.0", (3, 11), "problem"), ("6.12.0", (3, 12), "ok"), ("6.11.3", (3, 11), "ok")],
)
def test_a_binding_that_ends_python(version: str, python: tuple[int, int], state: str) -> None:
    opengl = {"version": "4.5", "renderer": "llvmpipe", "vendor": "Mesa", "max_texture_px": 16384}
    values = {"binding": "PySide6", "binding_version": version, "qt": version, "platform": "xcb"}
    probed = ChildResult({**values, "opengl": opengl, "disabled": False}, "")
    check = by_name(window_checks.describe_window(probed, {}, "linux", python), "Window")
    assert_sentences(check)
    assert check.state == state
    assert version in check.value


@LINUX
@pytest.mark.gui
def test_without_opengl(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QT_XCB_GL_INTEGRATION", "none")
    check = by_name(check_window(), "OpenGL")
    assert_sentences(check)
    assert check.state == "problem"
    assert "libgl1" in check.remedy


@LINUX
@pytest.mark.parametrize(
    ("variable", "name"), [("SAMPATH_CACHE", "Cache"), ("SAMPATH_USER_DATA", "User data")]
)
def test_folder_that_cannot_be_written(variable: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/proc/sampath")  # read-only even for root
    check = by_name(_places(), name)
    assert_sentences(check)
    assert check.state == "problem"
    assert "/proc/sampath" in check.value
    assert variable in check.remedy


@pytest.mark.parametrize("below", ["", "cache"])
def test_file_in_place_of_a_folder(below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SAMPATH_CACHE", str(tmp_path / "file" / below))
    check = by_name(_places(), "Cache")
    assert_sentences(check)
    assert check.state == "problem"
    assert "a file has its name" in check.value
    assert "rename that file" in check.remedy


def test_full_disk(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPATH_CACHE", str(small / "cache"))
    (small / "cache").mkdir()
    small_disk.fill(small)
    check = by_name(_places(), "Cache")
    assert_sentences(check)
    assert check.state == "problem"
    assert "No space left" in check.value


def test_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPATH_CACHE_LIMIT_BYTES", "much")
    check = by_name(_places(), "Settings")
    assert check.state == "problem"
    assert "much" in check.value


BROKEN = {
    "library": "raise OSError('libcudart.so.13: cannot open shared object file: No such file or directory')",
    "crash": "import os; os.abort()",
    "missing": "raise ModuleNotFoundError(\"No module named 'torch'\")",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_torch(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(BROKEN[fault])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":" if sys.platform != "win32" else ";")
    if fault != "library":
        (check,) = _torch(run_child(TORCH))
        assert_sentences(check)
        assert check.state == "problem"
        return
    done = subprocess.run(
        [sys.executable, "-m", "napari_sampath", "doctor", "--json", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (1, "")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert "libcudart.so.13" in checks["PyTorch"]["value"]
    assert "pip install" in checks["PyTorch"]["remedy"]
    assert "not run" in checks["Self-test"]["value"]
    assert {"Python", "Packages", "Memory", "Cache", "User data", "Log file", "Window"} <= set(checks)


def test_self_test_and_pytorch_of_this_computer(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMPATH_CACHE", str(own_cache))
    for check in (*_torch(run_child(TORCH)), _self_test(run_child("napari_sampath.diagnosis.self_test"))):
        assert_sentences(check)
        assert check.state != "problem", check
    assert check.name == "Self-test"
    assert "click" in check.value
    assert not list(own_cache.glob("doctor-*")), "the files of the test are removed"


def test_error_of_the_command_line_leads_to_a_log_that_exists(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom napari_sampath import cli\n"
        "def fail(*_): raise KeyError('surprise')\n"
        "import dataclasses\n"
        "cli.SUBCOMMANDS['models'] = dataclasses.replace(cli.SUBCOMMANDS['models'], run=fail)\n"
        "sys.argv = ['sampath', 'models']\ncli.main()"
    )
    environment = {"SAMPATH_USER_DATA": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | environment,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "run 'sampath doctor'" in done.stderr
    log = tmp_path / "logs" / "errors.log"
    assert str(log) in done.stderr
    assert "KeyError: 'surprise'" in log.read_text()


def test_log_is_rotated_and_says_when_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "logs" / "errors.log"
    monkeypatch.setattr(error_log, "MAX_BYTES", 2000)
    for number in range(20):
        assert str(file) in record_error("saving", ValueError(f"number {number}"), file)
    assert "number 19" in file.read_text()
    assert sorted(path.name for path in file.parent.iterdir()) == ["errors.log", "errors.log.1"]
    blocked = tmp_path / "file"
    blocked.write_text("")
    sentence = record_error("saving", ValueError("x"), blocked / "errors.log")
    assert "no log was written" in sentence
    assert "sampath doctor" in sentence


def test_full_disk_does_not_hide_the_error(small: Path) -> None:
    (small / "logs").mkdir()
    small_disk.fill(small)
    assert "no log was written" in record_error(
        "saving", ValueError("x" * 10_000), small / "logs" / "errors.log"
    )


def test_doctor_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert "doctor" in SUBCOMMANDS
    assert run_command(["--help"]) == 0
    assert "check this computer" in capsys.readouterr().out
