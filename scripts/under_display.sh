#!/usr/bin/env bash
# Runs a command in a virtual display of its own (Linux), or as it is where there is no Xvfb (macOS).
set -euo pipefail
if command -v xvfb-run >/dev/null; then
    # Qt would else choose Wayland, and a desktop's own settings could change what a test sees.
    unset WAYLAND_DISPLAY
    export QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1
    exec xvfb-run -a -s "-screen 0 1280x1024x24" "$@"
fi
exec "$@"
