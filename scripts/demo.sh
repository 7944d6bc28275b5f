#!/usr/bin/env bash
# Opens napari with a sample; without a display, or with HEADLESS=1, drives the docks itself and writes demo-output/.
set -euo pipefail
cd "$(dirname "$0")/.."

headless=${HEADLESS:-}
case "$headless" in 0 | no | false) headless= ;; esac
if [ -z "$headless" ] && [ "$(uname)" = Linux ] && [ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]; then
    headless=1
fi
if [ -z "$headless" ]; then
    exec .venv/bin/sampath demo "$@"
fi
exec bash scripts/under_display.sh .venv/bin/python -m benchmarks.demo --output demo-output "$@"
