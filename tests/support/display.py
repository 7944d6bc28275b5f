"""Virtual displays (Linux) for tests with windows, which share the focus and the pointer of a display."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SCREEN = "1280x1024x24"


def in_own_display(*command: str) -> list[str]:
    """Return a command that runs in its own virtual display if Xvfb is installed."""
    if shutil.which("xvfb-run") is None:
        return list(command)
    return ["xvfb-run", "-a", "-s", f"-screen 0 {SCREEN}", *command]


def can_start_display() -> bool:
    """Return True if `start_display` can give each process its own display."""
    return sys.platform == "linux" and shutil.which("Xvfb") is not None


def start_display() -> subprocess.Popen[bytes]:
    """Start a virtual display and make it that of this process; Qt must not be in use yet."""
    reader, writer = os.pipe()
    words = ["Xvfb", "-displayfd", str(writer), "-screen", "0", SCREEN, "-nolisten", "tcp"]
    server = subprocess.Popen(words, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(writer)
    with os.fdopen(reader) as stream:
        number = stream.readline().strip()
    if not number:
        raise RuntimeError("Xvfb did not start; run it by hand to see the reason.")
    os.environ.update(DISPLAY=f":{number}", QT_QPA_PLATFORM="xcb", LIBGL_ALWAYS_SOFTWARE="1")
    # Otherwise Qt would choose Wayland, and the server would ask for the cookie of another display.
    for name in ("WAYLAND_DISPLAY", "XAUTHORITY"):
        os.environ.pop(name, None)
    return server
