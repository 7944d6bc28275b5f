"""Steps on a slide: open it, click, paint at two magnifications, export outlines for QuPath."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
from PIL import Image
from qtpy.QtCore import Qt

from napari_sampath.images.slides import open_slide
from napari_sampath.widgets.canvas.slide_layer import add_slide, slide_of
from napari_sampath.widgets.canvas.viewport import camera
from napari_sampath.widgets.demo import add_docks, bring_to_front
from napari_sampath.widgets.segment.slide_layers import RESULT, TISSUE
from napari_sampath.widgets.viewer.mouse import Mode

from ..__main__ import ROOT
from ..gui_driver import CTRL, SHIFT, GuiDriver, wait_until
from .walk import TIMEOUT_S, StepError, Walk

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.viewer import Viewer

    from napari_sampath.formats.maps.slide_result import Block, SlideResult
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


SIDE_PX, CORNER = 12_288, 6_144
"""Side of the slide whose blocks are segmented, and where four of them meet."""
BRUSH_PX = 420
"""Side of the region around this corner where tissue is painted, in pixels of the slide."""
HEAD = "gland-cnn"


def write_four_blocks(source: Path, target: Path) -> None:
    """Write a slide of four blocks that repeats a structure of a small slide, with one of them on the corner."""
    half = 512
    x, y = (int(value) for value in GLAND_XY)
    with open_slide(source) as slide:
        crop = slide.read((y - half, x - half, y + half, x + half))
    crop = np.roll(crop, (half, half), axis=(0, 1))
    with tifffile.TiffWriter(target) as writer:
        for level in range(4):
            side = SIDE_PX >> level
            scaled = np.asarray(Image.fromarray(crop).reduce(2**level))
            starts = range(0, side, 256)
            scaled = np.tile(scaled, (max(1, 256 // len(scaled)), max(1, 256 // len(scaled)), 1))
            places = [(row % len(scaled), col % len(scaled)) for row in starts for col in starts]
            writer.write(
                (np.ascontiguousarray(scaled[row : row + 256, col : col + 256]) for row, col in places),
                shape=(side, side, 3),
                dtype=np.uint8,
                tile=(256, 256),
                photometric="rgb",
                compression="zstd",
                subfiletype=int(level > 0),
                resolution=(20_000 / 2**level,) * 2,
                resolutionunit="CENTIMETER",
                metadata=None,
            )


class SlideSegmentation(Walk):
    """A slide of four blocks: tissue, growing result, objects across the borders of blocks.

    Args:
        viewer: The viewer.
        state: State of the viewer.
        path: The slide.
        output: Folder for screenshots.
        prefix: First letters of the names of the screenshots.
    """

    def __init__(self, viewer: Viewer, state: ViewerState, path: Path, output: Path, prefix: str) -> None:
        super().__init__(viewer, state, output, prefix)
        self.annotate, self.segment, _ = add_docks(viewer, state)
        self._path = path

    def plan(self) -> list[tuple[str, Callable[[], str]]]:
        """List the steps."""
        return [
            ("Find the tissue", self._tissue),
            ("Paint where to segment", self._paint),
            ("Watch the result grow", self._grow),
            ("Finish the result", self._finish),
            ("Add objects across a border of blocks", self._add),
        ]

    def message_of(self, title: str) -> str:
        """Return the message of a dock."""
        dock = {"Annotate": self.annotate, "Auto-segment": self.segment}[title]
        return str(dock.status.message.text())

    def _tissue(self) -> str:
        image = add_slide(self.viewer, self._path)
        self._driver = GuiDriver(self.viewer, image)
        wait_until(lambda: self.state.annotator is not None, TIMEOUT_S, "the session of the slide")
        self.driver.settle()
        bring_to_front(self.segment)
        self.driver.press(self.segment.tissue_button)
        wait_until(lambda: TISSUE in self.viewer.layers, TIMEOUT_S, "the tissue")
        wait_until(lambda: image.data[0].cache.waiting == 0, TIMEOUT_S, "the pixels in view")
        share = float((self.viewer.layers[TISSUE].data > 0).mean())
        return f"{share:.0%} of the slide is tissue, shown in green."

    def _paint(self) -> str:
        layer = self.viewer.layers[TISSUE]
        layer.data = layer.data * 0
        self._look(0.5)
        layer.brush_size = 6
        half = BRUSH_PX / 2
        for y in range(int(CORNER - half), int(CORNER + half) + 1, 70):
            self.driver.drag([(CORNER - half, y), (CORNER + half, y)])
        marked = int((layer.data > 0).sum())
        self._check(marked > 0, "the brush marked no tissue")
        return f"A person erased the tissue and painted {marked} pixels of the mask around the corner of four blocks."

    def _grow(self) -> str:
        wait_until(lambda: self.segment.head.combo.findData(HEAD) >= 0, TIMEOUT_S, "the list of heads")
        self.segment.head.setValue(HEAD)
        self.segment.refresh()
        combo = self.segment.region.combo
        combo.setCurrentIndex(combo.findData("image"))
        self.driver.press(self.segment.run_button)
        wait_until(lambda: RESULT in self.viewer.layers, TIMEOUT_S, self.message_of("Auto-segment"))
        result = self.segment.slide_runs._run.plan.result
        wait_until(lambda: any(map(result.is_done, self._near(result))), TIMEOUT_S, "the first block")
        shown = self.viewer.layers[RESULT].data[1]
        here = slice((CORNER - BRUSH_PX) // 2, (CORNER + BRUSH_PX) // 2)
        wait_until(lambda: bool(shown[here, here].any()), TIMEOUT_S, "the first block in the window")
        done = sum(map(result.is_done, self._near(result)))
        return f"{done} of 4 blocks around the corner are segmented, and can be seen while the others are computed."

    def _finish(self) -> str:
        wait_until(lambda: not self.segment.runner.busy, 2 * TIMEOUT_S, "the result")
        self._check(self.segment.slide_runs.shows_result, self.message_of("Auto-segment"))
        wait_until(lambda: self.viewer.layers[RESULT].data[0].cache.waiting == 0, TIMEOUT_S, "the last block")
        return self.message_of("Auto-segment")

    def _add(self) -> str:
        combo = self.segment.region.combo
        combo.setCurrentIndex(combo.findData("view"))
        self.driver.press(self.segment.add_button)
        wait_until(
            lambda: not self.segment.runner.busy and not self.segment.apply_queue.busy,
            TIMEOUT_S,
            "the objects",
        )
        boxes = [record.box for record in self.annotator.session.document.objects.values()]
        crossing = [box for box in boxes if box[0] < CORNER < box[2] or box[1] < CORNER < box[3]]
        self._check(bool(crossing), f"none of {len(boxes)} objects crosses a border of blocks")
        self.viewer.layers[RESULT].visible = False
        self._look(1.0)
        cache = self.state.image.data[0].cache  # type: ignore[union-attr]
        wait_until(lambda: cache.waiting == 0, TIMEOUT_S, "the pixels in view")
        return f"{len(boxes)} objects were added; {len(crossing)} of them lie in more than one block and are whole."

    @staticmethod
    def _near(result: SlideResult) -> list[Block]:
        return result.blocks_in((CORNER - 1, CORNER - 1, CORNER + 1, CORNER + 1))

    def _look(self, zoom: float) -> None:
        """Centre the view on the corner, with a number of screen pixels per pixel of the slide."""
        image = self.driver.image
        camera(self.viewer).center = tuple(image.data_to_world((CORNER, CORNER))[-2:])
        camera(self.viewer).zoom = zoom / float(image.scale[-1])
