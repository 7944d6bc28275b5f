#!/usr/bin/env bash
# Runs a command in its own virtual display (Linux), or directly if there is no Xvfb (macOS).
set -euo pipefail
if command -v xvfb-run >/dev/null; then
    # Otherwise Qt would choose Wayland, and desktop settings could change the results of tests.
    unset WAYLAND_DISPLAY
    export QT_QPA_PLATFORM=xcb LIBGL_ALWAYS_SOFTWARE=1
    exec xvfb-run -a -s "-screen 0 1280x1024x24" "$@"
fi
exec "$@"
