"""`python -m benchmarks.tutorials`: follow the tutorials in a window, and write their pictures to docs/images."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from ..__main__ import ROOT

WINDOW_PX = (1180, 760)


def main() -> int:
    """Follow the tutorials; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tutorials", description=__doc__)
    parser.add_argument("names", nargs="*", choices=["images", "slide"], default=["images", "slide"])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "images")
    parser.add_argument("--until", metavar="TITLE", help="stop after the step with this title")
    args = parser.parse_args()
    for name in args.names:
        follow(name, args.output, args.until)
    return 0


def follow(name: str, output: Path, until: str | None) -> None:
    """Follow a tutorial in a new window, with folders of its own."""
    import napari

    from napari_sampath.widgets.viewer.viewer_state import ViewerState

    from .images import ImagesTutorial
    from .slide import SlideTutorial

    data = Path(os.environ.get("SAMPATH_DATA", ROOT.parent / "shared" / "data"))
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        viewer = napari.Viewer(title="napari", show=True)
        try:
            viewer.theme = "dark"
            viewer.window._qt_window.showNormal()
            viewer.window.resize(*WINDOW_PX)
            state = ViewerState(viewer, sessions_dir=Path(folder) / "sessions")
            kind = {"images": ImagesTutorial, "slide": SlideTutorial}[name]
            tutorial = kind(viewer, state, output, Path(folder))
            tutorial.prepare(data)
            tutorial.run(until)
            seconds, actions = tutorial.first_object or (None, None)
            print(json.dumps({"first_object_s": seconds, "actions": actions}), flush=True)
        finally:
            viewer.close()


if __name__ == "__main__":
    sys.exit(main())
