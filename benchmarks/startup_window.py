"""`python -m benchmarks.startup_window`: open napari, the panel and the sample; print times and memory as JSON."""

from __future__ import annotations

import json
import sys
import time

import psutil

IDLE_S = 5


def main() -> int:
    """Measure in this process; return the exit code."""
    import napari

    from .gui_driver import wait_until

    process = psutil.Process()
    viewer = napari.Viewer(show=True)
    wait_until(viewer.window._qt_window.isVisible, 60, "the window")
    values = {"window_s": time.time() - process.create_time(), "napari_mb": process.memory_info().rss / 1e6}
    begin = time.perf_counter()
    _, panel = viewer.window.add_plugin_dock_widget("napari-sampath", "SamPath")
    wait_until(panel.isVisible, 60, "the panel")
    values["panel_s"] = time.perf_counter() - begin
    idle = time.monotonic() + IDLE_S
    wait_until(lambda: time.monotonic() > idle and not panel.state.runner.busy, 120, "the end of the work")
    values["idle_mb"] = process.memory_info().rss / 1e6
    begin = time.perf_counter()
    viewer.open_sample("napari-sampath", "h_and_e")
    wait_until(lambda: panel.state.ready, 300, "the sample to be ready for clicks")
    values["ready_s"] = time.perf_counter() - begin
    idle = time.monotonic() + IDLE_S
    wait_until(lambda: time.monotonic() > idle and not panel.state.runner.busy, 120, "the end of the work")
    values["image_mb"] = process.memory_info().rss / 1e6
    viewer.close()
    sys.stdout.write(json.dumps(values) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
