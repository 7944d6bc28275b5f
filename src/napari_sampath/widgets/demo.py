"""`python -m napari_sampath.widgets.demo`: open napari with the SamPath panel and a sample image."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QApplication

from ..errors import SampathError
from ..images import read
from .annotate.dock import AnnotateDock
from .canvas.shown_image import SOURCE_FILE
from .export.dock import ExportDock
from .panel.panel import SamPathPanel
from .samples import h_and_e
from .segment.dock import SegmentDock
from .viewer.viewer_state import ModelChoice, ViewerState


def add_docks(viewer: Any, state: ViewerState | None = None) -> tuple[AnnotateDock, SegmentDock, ExportDock]:
    """Add the Annotate, Auto-segment and Export docks to a viewer as tabs, Annotate in front."""
    docks = AnnotateDock(viewer, state), SegmentDock(viewer, state), ExportDock(viewer, state)
    for dock, name in zip(docks, ("Annotate", "Auto-segment", "Export"), strict=True):
        viewer.window.add_dock_widget(dock, name=name, area="right", tabify=dock is not docks[0])
    bring_to_front(docks[0])
    return docks


def bring_to_front(dock: Any) -> None:
    """Bring the tab of a dock to the front."""
    QApplication.processEvents()
    dock.parent().raise_()
    QApplication.processEvents()


def main(argv: Sequence[str] | None = None) -> int:
    """Open the window and wait until it is closed; return 0, or 1 if the image cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m napari_sampath.widgets.demo", description=__doc__)
    parser.add_argument("--image", type=Path, help="image to open instead of the sample")
    parser.add_argument(
        "--model", default="sampath-tiny", help="promptable model to load (default: %(default)s)"
    )
    parser.add_argument("--weights", type=Path, help="weights file for the model")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING)
    import napari

    try:
        image = None if args.image is None else read(args.image)
    except SampathError as error:
        sys.stderr.write(f"sampath: {error}\n")
        return 1
    viewer = napari.Viewer(title="napari-sampath demo")
    panel = SamPathPanel(viewer)
    viewer.window.add_dock_widget(panel, name="SamPath", area="right")
    panel.state.choose_model(ModelChoice(args.model, weights=args.weights))
    if image is not None:
        metadata = {SOURCE_FILE: str(args.image)}
        viewer.add_image(image.pixels, name=image.name, metadata=metadata)
    else:
        for data, options, _kind in h_and_e():
            viewer.add_image(data, **options)
    napari.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
