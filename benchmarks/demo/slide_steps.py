"""Steps on a slide: open it, click, paint at two magnifications, export outlines for QuPath."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt

from napari_sampath.widgets.canvas.slide_layer import add_slide, slide_of
from napari_sampath.widgets.canvas.viewport import camera
from napari_sampath.widgets.demo import add_docks, bring_to_front
from napari_sampath.widgets.viewer.mouse import Mode

from ..__main__ import ROOT
from ..gui_driver import CTRL, SHIFT, GuiDriver, wait_until
from .walk import TIMEOUT_S, StepError, Walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_sampath.widgets.viewer.viewer_state import ViewerState

NAME = "CMU-1-Small-Region"
GLAND_XY = 1105.0, 1490.0
"""A place inside a structure of the slide."""
CLOSE, FAR = 2.0, 0.4
"""Magnifications of the two strokes, in screen pixels per pixel of the slide."""


def slide_path() -> Path | None:
    """Return the slide of the test data, in the folder SAMPATH_DATA; None if it is missing."""
    data = Path(os.environ.get("SAMPATH_DATA", ROOT.parent / "shared" / "data"))
    path = data / "slides" / f"{NAME}.svs"
    return path if path.is_file() else None


class SlideWorkflow(Walk):
    """A slide from opening to exported outlines.

    Args:
        viewer: The viewer.
        state: State of the viewer.
        path: The slide.
        output: Folder for screenshots and exported files.
        prefix: First letters of the names of the screenshots.
    """

    def __init__(self, viewer: Viewer, state: ViewerState, path: Path, output: Path, prefix: str) -> None:
        super().__init__(viewer, state, output, prefix)
        self.annotate, _, self.export = add_docks(viewer, state)
        self._path = path

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """List the steps."""
        return [
            ("Open a slide", self._open),
            ("Click on a structure", self._click),
            ("Paint close up", lambda: self._paint(CLOSE, 40)),
            ("Paint from afar", lambda: self._paint(FAR, 300)),
            ("Undo and redo", self._undo),
            ("Export for QuPath", self._export),
        ]

    def message_of(self, title: str) -> str:
        """Return the message of a dock."""
        dock = {"Annotate": self.annotate, "Export": self.export}[title]
        return str(dock.status.message.text())

    def _open(self) -> str:
        image = add_slide(self.viewer, self._path)
        self._driver = GuiDriver(self.viewer, image)
        wait_until(lambda: self.state.annotator is not None, TIMEOUT_S, "the session of the slide")
        self.driver.settle()
        wait_until(lambda: self.state.ready, TIMEOUT_S, "the slide to be ready for clicks")
        wait_until(lambda: image.data[0].cache.waiting == 0, TIMEOUT_S, "the pixels in view")
        slide = slide_of(image)
        self._check(slide is not None and slide.mpp is not None, "the scale of the slide is unknown")
        height, width = self.annotator.session.hw
        return f"{self._path.name}, {width} x {height} px at {slide.mpp:.3f} µm per pixel."  # type: ignore[union-attr]

    def _click(self) -> str:
        self._look(1.0)
        self.driver.click(*GLAND_XY)
        wait_until(lambda: self.state.prompts.idle, TIMEOUT_S, "the mask")
        candidate = self.annotator.session.prompts.candidate
        if candidate is None:
            raise StepError(self.message_of("Annotate"))
        self.driver.key(Qt.Key.Key_Return)
        wait_until(lambda: len(self.annotator.session.document.objects) == 1, TIMEOUT_S, "the object")
        return f"An object of {candidate.mask.area_px} px is committed."

    def _paint(self, zoom: float, length_px: float) -> str:
        session, (x, y) = self.annotator.session, GLAND_XY
        before = len(session.document.objects)
        self._look(zoom)
        wait_until(lambda: self.state.image.data[0].cache.waiting == 0, TIMEOUT_S, "the pixels in view")  # type: ignore[union-attr]
        self.driver.press(self.annotate.modes.buttons[Mode.BRUSH])
        top = y - 150 / zoom
        self.driver.drag([(x - length_px / 2, top), (x + length_px / 2, top - 20 / zoom)])
        wait_until(lambda: not self.annotator.layer_sync.drawing, TIMEOUT_S, "the end of the stroke")
        made = [record for record in session.document.objects.values() if record.source == "brush"]
        self._check(len(session.document.objects) == before + 1, "the stroke made no object")
        r0, c0, r1, c1 = made[-1].box
        return f"The stroke is an object of {c1 - c0} x {r1 - r0} px of the slide."

    def _undo(self) -> str:
        objects = self.annotator.session.document.objects
        before = len(objects)
        self.driver.key(Qt.Key.Key_Z, CTRL)
        self._check(len(objects) == before - 1, "undo changed nothing")
        self.driver.key(Qt.Key.Key_Z, CTRL | SHIFT)
        self._check(len(objects) == before, "redo restored nothing")
        return "Ctrl-Z undid the stroke, Ctrl-Shift-Z restored it."

    def _export(self) -> str:
        bring_to_front(self.export)
        self.export.formats.setValue(("geojson",))
        self.export.folder.setText(str((self.output / "slide").absolute()))
        self.driver.press(self.export.export_button)
        wait_until(lambda: not self.export.runner.busy, TIMEOUT_S, "the export")
        files = sorted((self.output / "slide").glob("*.geojson"))
        self._check(bool(files), self.message_of("Export"))
        self.facts.files += files
        features = json.loads(files[0].read_text(encoding="utf-8"))["features"]
        count = len(self.annotator.session.document.objects)
        self._check(len(features) == count, f"{len(features)} outlines were written for {count} objects")
        return f"{files[0].name} holds {count} outlines in pixels of the slide."

    def _look(self, zoom: float) -> None:
        """Centre the view, with a number of screen pixels per pixel of the slide."""
        image = self.driver.image
        camera(self.viewer).center = tuple(image.data_to_world(GLAND_XY[::-1])[-2:])
        camera(self.viewer).zoom = zoom / float(image.scale[-1])
