"""Checks of Qt, the display and OpenGL, which only the window needs."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from .check import Check, ChildResult, run_child

BINDINGS = ("PyQt6", "PySide6", "PyQt5", "PySide2")
INSTALL = 'pip install "napari-sampath[gui]" "napari[pyqt6]"'
PROBE = "napari_sampath.widgets.window_probe"
MIN_NAPARI = "0.6.2"
"""`min_napari_version` of the manifest."""
MIN_TEXTURE_PX = 8192
"""napari draws an image that is larger than a texture at a lower resolution."""
CRASHING = {("PySide6", "6.12.0"): (3, 12)}
"""Binding and version -> first Python with which it works.

Each signal of PySide6 6.12.0 drops a reference to True, which is immortal from Python 3.12 on.
"""
LIBRARIES = "sudo apt-get install libgl1 libegl1 libxcb-cursor0 libxkbcommon-x11-0"


def check_window() -> list[Check]:
    """Check napari, the Qt binding, the display and OpenGL; the command line works without them."""
    missing = [name for name in ("napari", "qtpy") if importlib.util.find_spec(name) is None]
    if not any(importlib.util.find_spec(name) for name in BINDINGS):
        missing.append("a Qt binding")
    if missing:
        value = f"{' and '.join(missing)} not installed; the command line works without it"
        return [Check("Window", "note", value, f"To annotate in a window, run: {INSTALL}.")]
    return describe_window(run_child(PROBE), os.environ, sys.platform)


def describe_window(
    result: ChildResult,
    environment: Mapping[str, str],
    system: str,
    python: tuple[int, int] = sys.version_info[:2],
) -> list[Check]:
    """Turn the result of the probe into checks.

    Args:
        result: Report of `widgets.window_probe`, or the reason for its failure.
        environment: Variables of this process.
        system: `sys.platform`.
        python: Version of Python.
    """
    if result.failure:
        return [_no_window(result.failure, environment, system)]
    values = result.values
    checks = [
        Check("Window", "ok", f"{values['binding']}, Qt {values['qt']}, platform '{values['platform']}'")
    ]
    if values["platform"] in ("offscreen", "minimal"):
        remedy = "Unset QT_QPA_PLATFORM, and start napari on a desktop."
        return [
            Check(
                "Window",
                "problem",
                f"Qt draws on the platform '{values['platform']}', without a display",
                remedy,
            )
        ]
    name, version = values["binding"], values["binding_version"]
    needed = CRASHING.get((name, version))
    if needed is not None and python < needed:
        value = f"{name} {version} ends napari without a message with Python {python[0]}.{python[1]}"
        remedy = f"Install another version: pip install '{name}!={version}'."
        return [Check("Window", "problem", value, remedy)]
    return [*checks, _opengl(values["opengl"]), _plugin(values["disabled"])]


def _plugin(disabled: bool) -> Check:
    """Check that napari shows the plugin in its menu."""
    version = importlib.metadata.version("napari")
    if _numbers(version) < _numbers(MIN_NAPARI):
        remedy = "Update napari: pip install --upgrade napari."
        return Check("Plugin", "problem", f"napari {version} is older than {MIN_NAPARI}", remedy)
    if disabled:
        remedy = "Enable it in 'Plugins > Install/Uninstall Plugins', and restart napari."
        return Check(
            "Plugin", "problem", "napari-sampath is disabled in napari, so it is not in the menu", remedy
        )
    return Check("Plugin", "ok", f"enabled in napari {version}: 'Plugins > SamPath'")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _no_window(failure: str, environment: Mapping[str, str], system: str) -> Check:
    headless = system.startswith("linux") and not (
        environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    )
    if headless:
        value = "there is no display: DISPLAY and WAYLAND_DISPLAY are not set"
        remedy = "Start napari on a desktop, connect with 'ssh -X', or use the command line, which needs no display."
    elif "No module named" in failure or "ImportError" in failure:
        value = f"Qt cannot be imported ({failure})"
        remedy = f"Install it again: {INSTALL}. On Debian and Ubuntu it needs: {LIBRARIES}."
    elif "[Errno " in failure:
        value = f"napari cannot keep its settings ({failure})"
        remedy = (
            "Give yourself the right to write in your home folder, or set HOME to a folder where you can."
        )
    else:
        value = f"Qt cannot open a window ({failure})"
        shown = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
        remedy = (
            f"Check that the display '{shown}' exists and allows you to connect" if shown else "Reinstall Qt"
        )
        remedy += f"; on Debian and Ubuntu, Qt also needs: {LIBRARIES}."
    return Check("Window", "problem", value, remedy)


def _opengl(values: Mapping[str, Any] | None) -> Check:
    if values is None:
        remedy = f"Install the driver of the graphics card; on Debian and Ubuntu also: {LIBRARIES}."
        return Check("OpenGL", "problem", "Qt finds no OpenGL, so napari cannot draw", remedy)
    size = values["max_texture_px"]
    value = f"{values['version']}, {values['renderer']} ({values['vendor']}), textures up to {size:,} px"
    if size < MIN_TEXTURE_PX:
        remedy = "Update the driver of the graphics card: large images are drawn at a lower resolution."
        return Check("OpenGL", "note", value, remedy)
    return Check("OpenGL", "ok", value)
